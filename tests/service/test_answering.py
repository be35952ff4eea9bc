import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rag.core.backends import Backends
from rag.core.budgets import Budget
from rag.core.errors import BudgetExhausted, InputError, RagError
from rag.core.events import Event, Outcome, Started
from rag.core.generation import Prompt
from rag.core.operations import Generate
from rag.core.protocols import LLM
from rag.core.search_operations import Search
from rag.models.calibration import cost_model_path
from rag.models.cost_model import CostModel
from rag.pipelines.conversation import Turn
from rag.service.access import Caller
from rag.service.answer_schemas import AnswerReply, AnswerRequest
from rag.service.errors import ApiError
from rag.service.service import Service, opened
from rag.service.settings import load_settings
from rag.testing import EchoLLM, HashEmbedder, ScriptedLLM
from rag.testing.loopback_web import LoopbackSearXNG
from tests.service.birds import BIRDS, QUESTION, REPLY
from tests.service.doubles import GatedLLM, eventually


def serving(
    data: Path,
    test: Callable[[Service], Awaitable[None]],
    llm: LLM | None = None,
    **settings: Any,
) -> None:
    """Run a test on the parts of a service that has the birds."""

    async def main() -> None:
        made = load_settings(None, data=data, **settings)
        async with opened(made, (), HashEmbedder(), llm) as service:
            await asyncio.to_thread(service.library.create("birds").collection.add, BIRDS)
            await test(service)

    asyncio.run(main())


def request(**values: Any) -> AnswerRequest:
    return AnswerRequest(**{"question": QUESTION, "collection": "birds"} | values)


async def events_of(service: Service, asked: AnswerRequest, **options: Any) -> list[Event]:
    caller = options.pop("caller", Caller())
    return [event async for event in service.answering.events(asked, caller, **options)]


async def last_of(events: AsyncIterator[Event]) -> Event:
    *_, last = [event async for event in events]
    return last


async def answered(service: Service, asked: AnswerRequest, **options: Any) -> AnswerReply:
    outcome = (await events_of(service, asked, **options))[-1]
    assert isinstance(outcome, Outcome)
    return service.answering.reply(asked, outcome, 1.5, "id")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answers": {"pipeline": "guess"}}, "there is no 'guess', but read, extractive"),
        ({"answers": {"pipeline": "planned"}}, "'planned' needs answers.allocation"),
        ({"answers": {"allocation": "/nowhere.json"}}, "/nowhere.json is no allocation model"),
        ({"answers": {"examples": "/nowhere.jsonl"}}, "no worked examples"),
        ({"answers": {"prompts": "/nowhere"}}, "there is no folder /nowhere"),
        ({"pipelines": {"read": {}}}, "pipelines.read: the name is taken"),
        ({"pipelines": {"own": {"strategy": "Guess"}}}, "pipelines.own: .* the strategies are"),
        ({"pipelines": {"own": {"strategy": "DRAG", "examples": 2}}}, "0 worked examples"),
        ({"pipelines": {"own": {"strategy": "DRAG", "rerank": "yes-no"}}}, "only the strategy"),
        ({"pipelines": {"own": {"rerank": "magic"}}}, "no reranker 'magic'"),
        ({"web": {"engines": ["altavista"]}}, "no search engine 'altavista'"),
    ],
)
def test_settings_are_checked_before_anything_is_served(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    async def never(_: Service) -> None:
        raise AssertionError

    with pytest.raises(InputError, match=message):
        serving(tmp_path, never, EchoLLM(), **settings)


def test_a_malformed_prompt_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "read.toml").write_text('description = "d"\nquestion = "{qeustion}"')

    async def never(_: Service) -> None:
        raise AssertionError

    with pytest.raises(InputError, match="qeustion"):
        serving(tmp_path / "data", never, EchoLLM(), answers={"prompts": tmp_path})


def test_without_a_model_answers_are_sentences_of_documents(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        (only,) = service.answering.pipelines
        assert (only.name, only.default) == ("extractive", True)
        reply = await answered(service, request(), turns=[Turn("Which bird?")])
        assert REPLY in reply.text
        assert (reply.id, reply.seconds, reply.pipeline) == ("id", 1.5, "extractive")
        assert "there is no model to rewrite it" in reply.notes[0]

    serving(tmp_path, test, pipelines={"own": {"strategy": "DRAG"}})


def test_programs_search_with_the_same_objects(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        retrievers = service.library["birds"].retrievers
        for kind, retriever in retrievers.items():
            found = service.answering._retriever(request(retriever=kind), Caller())
            assert found is retriever

    serving(tmp_path, test)


def test_a_collection_that_a_caller_may_not_use_is_not_there(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        for asked in (request(), request(collection="fish")):
            with pytest.raises(RagError, match="no collection of that name"):
                await events_of(service, asked, caller=Caller(collections=frozenset({"fish"})))

    serving(tmp_path, test)


def test_the_least_of_what_is_asked_and_allowed_holds(tmp_path: Path) -> None:
    llm = ScriptedLLM(lambda _: REPLY)

    async def test(service: Service) -> None:
        for asked, allowed in ((None, 65), (9999, 65), (60, 60)):
            reply = await answered(service, request(budget={"tokens": asked}))
            assert 0 < reply.usage.input_tokens <= allowed
        long = await answered(service, request(), max_tokens=9999)
        short = await answered(service, request(), max_tokens=2)
        assert (long.usage.output_tokens, short.usage.output_tokens) == (4, 2)
        assert "the reply was cut at 2 tokens" in short.notes

    serving(tmp_path, test, llm, answers={"tokens": 65, "max_tokens": 4})


def test_seconds_that_are_asked_for_limit_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    llm = ScriptedLLM(lambda _: REPLY)
    CostModel(computed=0.1).save(cost_model_path(llm))

    async def test(service: Service) -> None:
        slow = await answered(service, request())
        quick = await answered(service, request(budget={"seconds": 6}))
        assert slow.usage.input_tokens > 60 >= quick.usage.input_tokens
        assert "to be done in 6 s" in quick.notes[0]

    serving(tmp_path / "data", test, llm)


def test_a_follow_up_is_asked_as_a_question_of_its_own(tmp_path: Path) -> None:
    def reply(prompt: Prompt) -> str:
        return QUESTION if "What does it eat?" in prompt.user else REPLY

    async def test(service: Service) -> None:
        turns = [Turn("Which bird stands still?", "The grey heron.")]
        events = await events_of(service, request(question="What does it eat?"), turns=turns)
        searched = [each.op.query for each in events if isinstance(each, Started)
                    and isinstance(each.op, Search)]  # fmt: skip
        assert searched == [QUESTION]

    serving(tmp_path, test, ScriptedLLM(reply))


def test_no_search_engine_learns_of_earlier_answers(tmp_path: Path) -> None:
    llm = ScriptedLLM(lambda _: "What does the heron eat?")

    async def test(service: Service) -> None:
        turns = [Turn("Which bird?", "The secret heron.")]
        asked = request(question="What does the heron eat?", web=True)
        await answered(service, asked, turns=turns)
        (_, (rewriting,)) = llm.calls[0]
        assert "Which bird?" in rewriting.user
        assert "secret" not in rewriting.user

    with LoopbackSearXNG([]) as engine:
        web = {"engines": [f"searxng@{engine.url()}"]}
        serving(tmp_path, test, llm, web=web)
        assert engine.queries == ["What does the heron eat?"]


def test_a_daily_budget_is_shared_by_all_requests_of_a_key(tmp_path: Path) -> None:
    llm = ScriptedLLM(lambda _: REPLY)

    async def test(service: Service) -> None:
        key, _ = await asyncio.to_thread(service.keys.create, "k", ["read"], tokens_per_day=120)
        caller = Caller(key_id=key.id, tokens_per_day=120)
        replies = await asyncio.gather(
            *(answered(service, request(), caller=caller) for _ in range(4))
        )
        assert 0 < sum(each.usage.input_tokens for each in replies) <= 120
        assert any("no model read" in note for each in replies for note in each.notes)

    serving(tmp_path, test, llm)


def test_an_error_of_the_program_is_raised_by_the_reply(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        with pytest.raises(BudgetExhausted):
            await answered(service, request(budget={"seconds": 0}))

    serving(tmp_path, test)


def test_closing_the_events_ends_the_program(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        events = service.answering.events(request(), Caller())
        first = await anext(events)
        assert isinstance(first, Started)
        await events.aclose()
        # The engine is as good as before, and what was under way is metered.
        outcome = await service.engine.run(
            Generate(Prompt("again")), budget=Budget(), backends=Backends(EchoLLM())
        )
        assert outcome.text == "again"
        assert eventually(lambda: service.engine.usage.calls == 1)

    serving(tmp_path, test, EchoLLM())


def test_the_deadline_ends_what_a_budget_cannot(tmp_path: Path) -> None:
    llm = GatedLLM()

    async def test(service: Service) -> None:
        events = service.answering.events(request(), Caller())
        assert isinstance(await anext(events), Started)
        with pytest.raises(ApiError, match=r"not done within 0.2 s"):
            await last_of(events)
        llm.gate.set()

    serving(tmp_path, test, llm, answers={"seconds": 0.2})

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from rag.testing import ScriptedLLM
from rag.testing.loopback_web import LoopbackSearXNG
from tests.service.birds import QUESTION, REPLY, add_birds
from tests.service.doubles import GatedLLM, eventually
from tests.service.running import RunningService

INVENTED = "Herons were invented in 1900."
REWRITTEN = "What does the red kite steal?"


def replied(prompt: Any) -> str:
    """Rewrite follow-ups; answer all else, one sentence of it invented."""
    if "Rewrite this question" in prompt.question:
        return REWRITTEN
    return "It steals paper and rags." if REWRITTEN in prompt.question else f"{REPLY} {INVENTED}"


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("chat"), llm=ScriptedLLM(replied)) as running:
        add_birds(running)
        yield running


def client_of(running: RunningService, key: str = "unused") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0)


def asked(running: RunningService, **values: Any) -> Any:
    values = {"model": "birds", "messages": [{"role": "user", "content": QUESTION}]} | values
    with client_of(running) as client:
        return client.chat.completions.create(**values)


@contextmanager
def streaming(running: RunningService, **values: Any) -> Iterator[Iterator[ChatCompletionChunk]]:
    messages: Any = [{"role": "user", "content": QUESTION}]
    with (
        client_of(running) as client,
        client.chat.completions.create(
            model="birds", messages=messages, stream=True, **values
        ) as stream,
    ):
        yield stream


def streamed(running: RunningService, **values: Any) -> list[ChatCompletionChunk]:
    with streaming(running, **values) as stream:
        return list(stream)


def written(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)


def test_models_are_collections_and_ways_to_answer(birds: RunningService) -> None:
    with client_of(birds) as client:
        assert [each.id for each in client.models.list()] == [
            "birds",
            "birds/read",
            "birds/extractive",
        ]
        model = client.models.retrieve("BIRDS/extractive")
        assert (model.id, model.object, model.owned_by) == ("birds/extractive", "model", "ragmeter")
        assert model.created > 1_700_000_000
        with pytest.raises(openai.NotFoundError) as missing:
            client.models.retrieve("birds/guess")
    assert missing.value.code == "model_not_found"


def test_the_web_is_a_model_where_it_is_enabled(tmp_path: Path) -> None:
    with (
        LoopbackSearXNG([]) as engine,
        RunningService(tmp_path, web={"engines": [f"searxng@{engine.url()}"]}) as running,
    ):
        add_birds(running)
        with client_of(running) as client:
            names = [each.id for each in client.models.list()]
        answer = asked(running, model="web/extractive")
    assert [name for name in names if "/" not in name] == ["birds", "birds+web", "web"]
    assert "birds+web/read" in names
    assert not answer.choices[0].message.supported


def test_an_answer_is_a_chat_completion(birds: RunningService) -> None:
    completion = asked(birds, temperature=0.3, seed=7)
    (choice,) = completion.choices
    message = choice.message
    assert message.content == f"{REPLY} [1]\n\nSources\n\n- [1] Heron"
    assert (message.role, choice.finish_reason) == ("assistant", "stop")
    assert message.supported
    assert message.citations[0]["quote"] == REPLY
    assert INVENTED in message.notes[0]
    used = completion.usage
    assert used.prompt_tokens > 0
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens
    assert used.prompt_tokens_details.cached_tokens == 0
    feedback = {"answer_id": message.answer_id, "rating": "up"}
    assert birds.client.post("/v1/feedback", json=feedback).status_code == 204


def test_a_stream_says_no_more_than_the_answer(birds: RunningService) -> None:
    chunks = streamed(birds, stream_options={"include_usage": True})
    assert chunks[0].choices[0].delta.role == "assistant"
    assert written(chunks) == asked(birds).choices[0].message.content
    assert len(chunks) > 8
    *pieces, last, usage = chunks
    assert {each.choices[0].finish_reason for each in pieces} == {None}
    assert last.choices[0].finish_reason == "stop"
    about: Any = last.choices[0].delta
    assert about.supported
    assert about.citations[0]["document_id"] == "heron.md"
    assert INVENTED in about.notes[0]
    assert usage.choices == []
    assert usage.usage
    assert usage.usage.prompt_tokens > 0
    assert len({each.id for each in chunks}) == 1
    assert streamed(birds)[-1].choices


def test_the_limit_of_tokens_is_kept(birds: RunningService) -> None:
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        completion = asked(birds, **limit)
        assert completion.usage.completion_tokens == 3
        assert "cut at 3 tokens" in completion.choices[0].message.notes[0]


def test_a_follow_up_is_understood(birds: RunningService) -> None:
    first = asked(birds).choices[0].message.content
    message = (
        asked(
            birds,
            messages=[
                {"role": "system", "content": "Answer in French."},
                {"role": "user", "content": "Tell me of the red kite."},
                {"role": "assistant", "content": first},
                {"role": "user", "content": [{"type": "text", "text": "What does it steal?"}]},
            ],
        )
        .choices[0]
        .message
    )
    assert message.citations[0]["document_id"] == "kite.md"
    assert message.notes[0].startswith("passed over: 1 message")
    assert message.notes[1] == f"asked as: {REWRITTEN}"


def test_errors_are_those_of_the_official_client(birds: RunningService) -> None:
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as missing:
            asked(birds, model="fish", stream=stream)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError) as refused:
            asked(birds, n=2, stream=stream)
        assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "n")
    image = {"type": "image_url", "image_url": {"url": "https://birds.example/a.png"}}
    with pytest.raises(openai.BadRequestError) as refused:
        asked(birds, messages=[{"role": "user", "content": [image]}])
    assert refused.value.param == "messages.0.content"


def test_keys_see_their_own_models_and_are_held_to_their_limits(tmp_path: Path) -> None:
    with RunningService(tmp_path, llm=ScriptedLLM(replied)) as running:
        add_birds(running)
        add_birds(running, "secret")
        keys = running.service.keys
        _, reader = keys.create("reader", ["read"], ["birds"], requests_per_minute=3)
        _, writer = keys.create("writer", ["write"])
        question: Any = [{"role": "user", "content": QUESTION}]
        with client_of(running) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        with client_of(running, writer) as client, pytest.raises(openai.PermissionDeniedError):
            client.models.list()
        with client_of(running, reader) as client:
            assert {each.id.split("/")[0] for each in client.models.list()} == {"birds"}
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(model="secret", messages=question)
            client.chat.completions.create(model="birds", messages=question)
            with pytest.raises(openai.RateLimitError):
                client.models.list()


def test_more_requests_than_can_wait_are_refused(tmp_path: Path) -> None:
    llm = GatedLLM()
    limits = {"running": 1, "waiting": 0}
    with RunningService(tmp_path, llm=llm, limits=limits) as running:
        add_birds(running)
        first = threading.Thread(target=asked, args=(running,))
        first.start()
        assert eventually(lambda: running.service.admission.running == 1)
        with pytest.raises(openai.RateLimitError) as refused:
            asked(running)
        llm.gate.set()
        first.join()
    assert refused.value.code == "overloaded"
    assert int(refused.value.response.headers["retry-after"]) >= 1


def test_an_error_on_the_way_ends_the_stream(tmp_path: Path) -> None:
    llm = GatedLLM()
    with RunningService(tmp_path, llm=llm, answers={"seconds": 0.4}) as running:
        add_birds(running)
        with streaming(running) as stream, pytest.raises(openai.APIError) as failed:
            list(stream)
        llm.gate.set()
    assert failed.value.code == "deadline"


def test_a_client_that_leaves_gives_its_place_back(tmp_path: Path) -> None:
    llm = GatedLLM()
    with RunningService(tmp_path, llm=llm) as running:
        add_birds(running)
        with streaming(running) as stream:
            assert next(stream).choices[0].delta.role == "assistant"
            assert running.service.admission.running == 1
        assert eventually(lambda: running.service.admission.running == 0)
        llm.gate.set()


def test_several_at_once_are_each_their_own(birds: RunningService) -> None:
    async def main() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{birds.url}/v1", api_key="unused") as client:
            questions = (QUESTION, REWRITTEN) * 4
            return await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="birds", messages=[{"role": "user", "content": question}]
                    )
                    for question in questions
                )
            )

    completions = asyncio.run(main())
    cited = [each.choices[0].message.citations[0]["document_id"] for each in completions]
    assert cited == ["heron.md", "kite.md"] * 4
    assert len({each.id for each in completions}) == 8

"""What is read decides who may be told; checked on programs drawn at random."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.core.answers import Answer
from rag.core.async_engine import AsyncEngine
from rag.core.documents import Passage
from rag.core.engine import Engine
from rag.core.errors import FlowRefused
from rag.core.events import Outcome
from rag.core.hits import Hit
from rag.core.operations import Note
from rag.core.search_operations import Search, SearchWeb
from rag.core.sensitivity import INTERNAL, PUBLIC, sensitivity_of
from rag.core.web import WebQuery
from rag.retrievers.program import ProgramRetriever
from rag.testing import EchoLLM
from tests.core.flows import Expected, Web, World, answers, program, shapes


def run(drawn: Sequence[Any], world: World) -> list[Outcome[Any]]:
    engine = Engine(llm=EchoLLM(), retriever=world.retriever)
    return engine.run_many([program(shape, world) for shape in drawn], trace=True)


def serve(drawn: Sequence[Any], world: World) -> list[Outcome[Any]]:
    """Run programs as a server does."""

    async def outcome(engine: AsyncEngine, shape: Any) -> Outcome[Any]:
        events = [event async for event in engine.stream(program(shape, world))]
        assert isinstance(events[-1], Outcome)
        return events[-1]

    async def all_of_them() -> list[Outcome[Any]]:
        engine = AsyncEngine(llm=EchoLLM(), retriever=world.retriever)
        return await asyncio.gather(*(outcome(engine, shape) for shape in drawn))

    return asyncio.run(all_of_them())


def check(drawn: Sequence[Any], outcomes: Sequence[Outcome[Any]], world: World) -> None:
    expected = Expected()
    for shape, outcome in zip(drawn, outcomes, strict=True):
        expected.notes.clear()
        flow = expected.member(shape)
        assert outcome.sensitivity == flow.read
        assert (type(outcome.error) if outcome.error else None) is flow.error
        assert flow.error or answers(outcome.value) == flow.value
        assert sorted(outcome.notes) == sorted(expected.notes)
    assert {name: each.total() for name, each in world.told.items() if each} == expected.told


@settings(deadline=None, max_examples=200)
@given(st.lists(shapes, min_size=1, max_size=3))
def test_what_is_read_is_what_the_outcome_says(drawn: list[Any]) -> None:
    world = World()
    outcomes = run(drawn, world)
    check(drawn, outcomes, world)
    for outcome in outcomes:
        # The other way round: from what the engine says that it carried out.
        learned = [each for each in outcome.trace if not isinstance(each.result, Exception)]
        assert outcome.sensitivity == PUBLIC.union(*(e.op.reads(e.result) for e in learned))


@settings(deadline=None, max_examples=100)
@given(st.lists(shapes, min_size=1, max_size=3))
def test_servers_hold_to_the_same(drawn: list[Any]) -> None:
    world = World()
    check(drawn, serve(drawn, world), world)


@settings(deadline=None, max_examples=200)
@given(st.lists(shapes, min_size=1, max_size=3))
def test_nobody_learns_what_he_may_not(drawn: list[Any]) -> None:
    """Noninterference: another secret changes nothing of what is told."""
    one, other = World("the first secret"), World("another one")
    read = [[outcome.sensitivity for outcome in run(drawn, world)] for world in (one, other)]
    assert read[0] == read[1]
    assert one.told["world"] == other.told["world"]
    assert one.told["fetcher"] == other.told["fetcher"]


@pytest.mark.parametrize("shape", [("web", "world"), ("fetch", "public")])
@pytest.mark.parametrize("drive", [run, serve])
def test_a_refused_call_is_not_made_and_costs_nothing(drive: Any, shape: Any) -> None:
    world = World()
    leak = ("chain", [("search", "both"), shape])
    refused, allowed = drive([leak, shape], world)
    assert isinstance(refused.error, FlowRefused)
    assert (refused.error.sensitivity, refused.error.allowed) == ("hr + legal", "public")
    assert "the secret" not in str(refused.error)
    assert (refused.usage.searches, refused.usage.fetches, refused.usage.cost) == (1, 0, 0)
    assert allowed.error is None
    assert "the secret" not in repr(world.told)
    assert sum(each.total() for each in world.told.values()) == 1


@pytest.mark.parametrize("way", ["together", "limited", "within a search", "restricted"])
def test_a_member_begins_with_what_was_read_before_it(way: str) -> None:
    ask = ("web", "world")
    member = (way, [ask]) if way == "together" else (way, ask, "hr")[: 2 + (way == "restricted")]
    world = World()
    (outcome,) = run([("chain", [("search", "hr"), member])], world)
    assert isinstance(outcome.error, FlowRefused)
    assert not world.engines["world"].told


@pytest.mark.parametrize("ceilings", [("hr", "both"), ("both", "hr"), ("internal", "both")])
def test_a_ceiling_within_a_ceiling_lets_through_what_both_do(ceilings: tuple[str, str]) -> None:
    shape: Any = ("together", [("search", "both"), ("search", "public")])
    for ceiling in ceilings:
        shape = ("restricted", shape, ceiling)
    (outcome,) = run([shape], World())
    assert (outcome.unwrap(), outcome.sensitivity) == (([], ["Public text."]), PUBLIC)


def test_what_siblings_read_is_known_once_they_are_joined() -> None:
    world = World()
    search_both = ("together", [("search", "internal"), ("web", "world")])
    before, after = run([search_both, ("chain", [search_both, ("web", "world")])], world)
    assert (before.error, before.sensitivity) == (None, INTERNAL)
    assert isinstance(after.error, FlowRefused)
    assert len(world.engines["world"].told) == 2


def test_a_failing_member_tells_what_it_read() -> None:
    failing = (
        "together",
        [("answer", ("search", "hr")), ("chain", [("search", "both"), ("raise",)])],
    )
    world = World()
    ended, caught = run([failing, ("chain", [("tolerant", failing), ("web", "staff")])], world)
    assert ended.sensitivity == {"hr", "legal"}
    assert isinstance(caught.error, FlowRefused)
    assert not world.engines["staff"].told


def test_a_search_that_is_a_program_reads_as_any_other() -> None:
    class Internal(ProgramRetriever):
        name = "internal"

        async def program(self, query: str, top_k: int, where: Any = None) -> list[Hit]:
            await Note("one source is silent")
            return await Search("internal", top_k, where, inner)

    async def ask(retriever: Any, engine: Web) -> Answer:
        found = await Search("internal", retriever=retriever)
        with pytest.raises(FlowRefused):
            await SearchWeb(WebQuery("q"), engine)
        return Answer(found[0].passage.text)

    inner, world = World().retriever, World().engines["world"]
    plain, program = Engine().run_many([ask(each, world) for each in (inner, Internal())])
    assert plain.unwrap() == program.unwrap() == Answer("the secret", sensitivity=INTERNAL)
    assert plain.sensitivity == program.sensitivity == INTERNAL
    assert plain.usage.searches == program.usage.searches == 1
    assert (plain.notes, program.notes) == ((), ("one source is silent",))
    assert Internal().find("internal").notes == program.notes
    assert world.told == []


def test_notes_keep_their_order_and_come_once() -> None:
    numbers = [3, 1, 3, 2, 1]
    noted = [("note", number) for number in numbers]
    (outcome,) = run([("chain", [*noted, ("raise",)])], World())
    assert outcome.notes == ("note 3", "note 1", "note 2")
    (outcome,) = run(
        [("together", [("limited", ("note", 2)), ("within a search", noted[0])])], World()
    )
    assert set(outcome.notes) == {"note 2", "note 3"}


@pytest.mark.parametrize(
    ("stated", "tags"),
    [
        ({"sensitivity": "public"}, set()),
        ({"sensitivity": "hr"}, {"hr"}),
        ({"sensitivity": ["hr", " legal ", "public"]}, {"hr", "legal"}),
        ({}, {"internal"}),
        *(({"sensitivity": odd}, {"internal"}) for odd in (None, "", " ", 3, [], ["hr", 3], [""])),
    ],
)
def test_what_metadata_say(stated: dict[str, Any], tags: set[str]) -> None:
    assert sensitivity_of(stated) == tags
    assert Passage("p", "d", "text", 0, 4, metadata=stated).sensitivity == tags

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from rag.core.async_engine import AsyncEngine
from rag.core.backends import Backends
from rag.core.budgets import Budget, Meter
from rag.core.errors import BudgetExhausted
from rag.core.events import Outcome, TextDelta
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.operations import Generate, together
from rag.core.search_operations import Search
from tests.core.backends import WordLLM, WordRetriever


class GatedLLM(WordLLM):
    """Replies only when the test opens the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        self.entered.release()
        assert self.gate.acquire(timeout=10)
        return super().generate(prompts, sampling)

    async def wait_until_busy(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)


async def ask(text: str) -> str:
    return (await Generate(Prompt(text))).text


def test_requests_that_come_while_a_batch_runs_form_the_next_one() -> None:
    llm = GatedLLM()

    async def main() -> list[str]:
        engine = AsyncEngine(llm=llm)
        first = asyncio.create_task(engine.run(ask("first")))
        await llm.wait_until_busy()
        later = [asyncio.create_task(engine.run(ask(f"later {i}"))) for i in range(5)]
        await asyncio.sleep(0)
        llm.gate.release(2)
        return list(await asyncio.gather(first, *later))

    assert asyncio.run(main()) == ["FIRST", *(f"LATER {i}" for i in range(5))]
    assert [len(batch) for batch in llm.batches] == [1, 5]


class MeetingLLM(WordLLM):
    """Replies only when as many calls as expected are under way at once."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.capabilities |= {"concurrent"}
        self.meeting = threading.Barrier(calls)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        self.meeting.wait(timeout=10)
        return super().generate(prompts, sampling)


def test_models_that_take_calls_side_by_side_get_them_at_once() -> None:
    async def main() -> tuple[list[str], int]:
        engine = AsyncEngine(llm=MeetingLLM(calls=5))
        replies = await asyncio.gather(*(engine.run(ask(f"now {i}")) for i in range(5)))
        return list(replies), engine.usage.calls

    assert asyncio.run(main()) == ([f"NOW {i}" for i in range(5)], 5)


def test_streams_run_side_by_side_too() -> None:
    async def read(engine: AsyncEngine, text: str) -> str:
        events = [event async for event in engine.stream(ask(text))]
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    async def main() -> list[str]:
        engine = AsyncEngine(llm=MeetingLLM(calls=3))
        return list(await asyncio.gather(*(read(engine, text) for text in ("a", "b", "c"))))

    assert asyncio.run(main()) == ["A", "B", "C"]


def test_one_backend_does_not_wait_for_another() -> None:
    llm, retriever = GatedLLM(), WordRetriever()

    async def main() -> None:
        engine = AsyncEngine(llm=llm, retriever=retriever)
        reading = asyncio.create_task(engine.run(ask("slow")))
        await llm.wait_until_busy()
        assert await engine.run(search("fast")) == ["fast"]
        assert not reading.done()
        llm.gate.release()
        assert await reading == "SLOW"

    asyncio.run(main())


async def search(query: str) -> list[str]:
    return [hit.passage.text for hit in await Search(query)]


def test_cancelling_a_request_stops_its_calls_and_no_others() -> None:
    llm = GatedLLM()
    ended = []

    async def twice(text: str) -> tuple[str, ...]:
        try:
            return await together(ask(text), ask(text)), await ask(f"{text} again")  # type: ignore[return-value]
        finally:
            ended.append(text)

    async def main() -> None:
        engine = AsyncEngine(llm=llm, budget=Budget(calls=10))
        doomed = asyncio.create_task(engine.run(twice("doomed")))
        await llm.wait_until_busy()
        other = asyncio.create_task(engine.run(ask("other")))
        await asyncio.sleep(0)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert ended == ["doomed"]
        llm.gate.release(2)
        assert await other == "OTHER"
        assert engine.usage.calls == 3, "what was under way is metered"

    asyncio.run(main())
    assert llm.read == ["doomed", "doomed", "other"]


def test_a_request_that_waits_for_a_busy_model_can_be_cancelled_before_it_costs_anything() -> None:
    llm = GatedLLM()

    async def main() -> None:
        engine = AsyncEngine(llm=llm)
        busy = asyncio.create_task(engine.run(ask("busy")))
        await llm.wait_until_busy()
        doomed = asyncio.create_task(engine.run(ask("doomed")))
        await asyncio.sleep(0)
        doomed.cancel()
        llm.gate.release(2)
        await busy
        await asyncio.gather(doomed, return_exceptions=True)

    asyncio.run(main())
    assert llm.read == ["busy"]


def test_streams_of_concurrent_requests_stay_apart() -> None:
    async def written(engine: AsyncEngine, text: str) -> tuple[str, Any]:
        pieces, last = [], None
        async for event in engine.stream(ask(text)):
            last = event
            if isinstance(event, TextDelta):
                pieces.append(event.text)
        assert isinstance(last, Outcome)
        return "".join(pieces), last.unwrap()

    async def main() -> list[tuple[str, Any]]:
        engine = AsyncEngine(llm=WordLLM())
        return list(await asyncio.gather(*(written(engine, f"text {i}") for i in range(5))))

    assert asyncio.run(main()) == [(f"TEXT {i}", f"TEXT {i}") for i in range(5)]


def test_closing_a_stream_stops_the_reply() -> None:
    async def main() -> int:
        engine = AsyncEngine(llm=WordLLM(lambda question: question * 10_000))
        pieces = 0
        events = engine.stream(ask("long"))
        async for event in events:
            pieces += isinstance(event, TextDelta)
            if pieces == 3:
                break
        await events.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        assert engine.usage.calls == 1
        return pieces

    assert asyncio.run(main()) == 3


def test_errors_and_budgets_reach_the_caller() -> None:
    async def main() -> None:
        engine = AsyncEngine(llm=WordLLM())
        with pytest.raises(BudgetExhausted):
            await engine.run(ask("two words"), budget=Budget(tokens=1))
        assert await engine.run(ask("two words"), budget=Budget(tokens=2)) == "TWO WORDS"

    asyncio.run(main())


def test_a_program_can_run_on_backends_of_its_own() -> None:
    class Shouting(WordRetriever):
        def search_many(self, queries: Sequence[str], top_k: int, where: Any = None) -> Any:
            return super().search_many([f"{query}!" for query in queries], top_k, where)

    async def main() -> list[list[str]]:
        engine = AsyncEngine(retriever=WordRetriever())
        own = Backends(retriever=Shouting())
        return list(
            await asyncio.gather(
                engine.run(search("plain")), engine.run(search("own"), backends=own)
            )
        )

    assert asyncio.run(main()) == [["plain"], ["own!"]]


def test_programs_within_one_meter_share_its_budget() -> None:
    async def main() -> tuple[list[Any], int, int]:
        engine = AsyncEngine(llm=WordLLM())
        user = Meter(Budget(calls=3), engine.meter)
        runs = (engine.run(ask(f"{i}"), within=user) for i in range(5))
        replies = await asyncio.gather(*runs, return_exceptions=True)
        return list(replies), user.used.calls, engine.usage.calls

    replies, used, all_used = asyncio.run(main())
    assert [isinstance(reply, BudgetExhausted) for reply in replies] == [False] * 3 + [True] * 2
    assert (used, all_used) == (3, 3)


def test_without_deltas_a_reply_comes_in_one_piece() -> None:
    llm = WordLLM()

    async def read(engine: AsyncEngine, text: str) -> list[str]:
        return [type(event).__name__ async for event in engine.stream(ask(text), deltas=False)]

    async def main() -> list[list[str]]:
        engine = AsyncEngine(llm=llm)
        return list(await asyncio.gather(read(engine, "a"), read(engine, "b")))

    assert asyncio.run(main()) == [["Started", "Finished", "Outcome"]] * 2
    assert sorted(each for batch in llm.batches for each in batch) == ["a", "b"]


class GatedRetriever(WordRetriever):
    """Searches only as often as the test opens the gate, on two batches at once."""

    batches_at_once = 2

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Semaphore(0)
        self.sizes: list[int] = []

    def search_many(self, queries: Sequence[str], top_k: int, where: Any = None) -> Any:
        self.sizes.append(len(queries))
        assert self.gate.acquire(timeout=10)
        return super().search_many(queries, top_k, where)

    async def wait_for(self, batches: int) -> None:
        while len(self.sizes) < batches:
            await asyncio.sleep(0.001)


def test_a_second_batch_begins_once_it_is_as_large_as_the_first() -> None:
    retriever = GatedRetriever()

    async def main() -> None:
        engine = AsyncEngine(retriever=retriever)

        def ask_for(queries: str) -> list[asyncio.Task[list[str]]]:
            return [asyncio.create_task(engine.run(search(query))) for query in queries]

        async def settle() -> None:
            for _ in range(20):
                await asyncio.sleep(0.001)

        tasks = ask_for("a")
        await retriever.wait_for(1)
        tasks += ask_for("b")  # as large as the one under way
        await retriever.wait_for(2)
        tasks += ask_for("cde")  # no third one
        await settle()
        assert retriever.sizes == [1, 1]
        retriever.gate.release()
        await retriever.wait_for(3)
        retriever.gate.release()  # the three are under way now
        await settle()
        tasks += ask_for("fg")  # too few
        await settle()
        assert retriever.sizes == [1, 1, 3]
        tasks += ask_for("h")
        await retriever.wait_for(4)
        retriever.gate.release(2)
        assert [hits[0] for hits in await asyncio.gather(*tasks)] == list("abcdefgh")

    asyncio.run(main())
    assert retriever.sizes == [1, 1, 3, 3]

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import Request

from rag.core.events import Event, Outcome, Started
from rag.core.search_operations import Search
from rag.core.usage import Usage
from rag.service.errors import ApiError
from rag.service.leaving import unless_left, until_late


class Client:
    """A client that leaves when it is told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http", "headers": []}, self.receive)


class Work:
    """Work that takes long, and knows how it ended."""

    def __init__(self) -> None:
        self.ended = ""

    async def run(self) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # tidying up takes a moment
            self.ended = "cancelled"
            raise
        return "done"


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_what_is_done_in_time_is_returned() -> None:
    async def test() -> None:
        async def work() -> str:
            return "done"

        assert await unless_left(Client().request, work(), 10) == "done"

    run(test)


def test_errors_of_the_work_are_raised() -> None:
    async def test() -> None:
        async def work() -> str:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await unless_left(Client().request, work())

    run(test)


def ends(work: Work, error: Coroutine[Any, Any, Any], status: int, code: str) -> None:
    async def test() -> None:
        with pytest.raises(ApiError) as raised:
            await error
        assert (raised.value.status, raised.value.code) == (status, code)
        assert work.ended == "cancelled"

    run(test)


def test_work_ends_when_the_client_leaves() -> None:
    async def leave(work: Work) -> None:
        client = Client()
        asyncio.get_running_loop().call_later(0.01, client.left.set)
        await unless_left(client.request, work.run())

    ends(work := Work(), leave(work), 499, "client_left")


def test_work_ends_when_its_time_is_over() -> None:
    async def wait(work: Work) -> None:
        await unless_left(Client().request, work.run(), 0.01)

    ends(work := Work(), wait(work), 504, "deadline")


def test_work_ends_when_the_request_is_cancelled() -> None:
    async def test() -> None:
        work = Work()
        waiting = asyncio.create_task(unless_left(Client().request, work.run()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert work.ended == "cancelled"

    run(test)


STARTED, ENDED = Started(Search("q")), Outcome("done", None, Usage(), {})


def test_events_end_when_their_time_is_over() -> None:
    closed = []

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield STARTED
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    async def test() -> None:
        late = until_late(events(), 0.02)
        # Whoever reads the first event may be another task than whoever reads the rest.
        assert await asyncio.create_task(anext(late)) == STARTED
        with pytest.raises(ApiError) as raised:
            await anext(late)
        assert (raised.value.status, raised.value.code) == (504, "deadline")

    run(test)
    assert closed == [True]


def test_events_that_come_in_time_are_passed_on() -> None:
    async def events() -> AsyncGenerator[Event, None]:
        yield STARTED
        yield ENDED

    async def test() -> None:
        assert [event async for event in until_late(events(), 10)] == [STARTED, ENDED]

    run(test)

"""Work that ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request

from rag.core.events import Event, Outcome
from rag.service.errors import ApiError

T = TypeVar("T")


async def unless_left(
    request: Request, work: Coroutine[Any, Any, T], seconds: float | None = None
) -> T:
    """Return what some work returns; end it once its client leaves, or its time is over.

    Args:
        request: The request that it is for, its body read.
        work: The work; it is cancelled, and has ended before this does.
        seconds: Most that it may take; None for any time.

    Raises:
        ApiError: The client left (499, which nobody reads), or the time is over (504).
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise ApiError(499, "client_left", "the client left before the reply was ready")
        raise _too_late(seconds or 0)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def until_late(
    events: AsyncGenerator[Event, None], seconds: float
) -> AsyncGenerator[Event, None]:
    """Yield the events of a program; end it once its time is over.

    Raises:
        ApiError: The time is over (504).
    """
    end = asyncio.get_running_loop().time() + seconds
    async with aclosing(events):
        while True:
            try:
                # Around one event only: whoever asks for the next may be another task.
                async with asyncio.timeout_at(end):
                    event = await anext(events)
            except TimeoutError:
                raise _too_late(seconds) from None
            yield event
            if isinstance(event, Outcome):
                return


def _too_late(seconds: float) -> ApiError:
    """Return the error of a request that took longer than it may."""
    return ApiError(
        504, "deadline", f"not done within {seconds:g} s; ask for less, or try again later"
    )


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

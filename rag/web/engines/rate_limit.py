"""How often something may be done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class RateLimit:
    """Spaces turns evenly, for the coroutines of one event loop.

    Args:
        per_second: Turns a second.
        clock: Returns the time in seconds.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._space = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    async def turn(self) -> None:
        """Wait for one's turn; turns are given in the order of the calls."""
        now = self._clock()
        start = max(now, self._next)
        self._next = start + self._space
        if start > now:
            await self._sleep(start - now)

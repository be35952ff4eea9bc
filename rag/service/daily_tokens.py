"""What each key may use in a day, in tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta

from anyio import CancelScope
from starlette.concurrency import run_in_threadpool

from rag.core.budgets import Budget, Meter
from rag.core.usage import Usage
from rag.service.access import Caller
from rag.service.database import Database
from rag.service.errors import ApiError


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class DayMeter(Meter):
    """What a key uses in a day: tokens read, cached ones included, and tokens written.

    A call's input is counted before it is made, so calls that would read more than is left are
    refused, however many requests ask at once. What it will write nobody knows before, so it is
    counted afterwards: a day can end over its limit by the replies that were under way.
    """

    @property
    def tokens(self) -> int:
        """Tokens read and written so far."""
        return self.used.input_tokens + self.used.output_tokens

    def _limits(self) -> list[tuple[str, float, float]]:
        # The only limit is one of tokens, in which the base class counts input.
        return [
            (kind, limit, used + self.used.output_tokens) for kind, limit, used in super()._limits()
        ]


class DailyTokens:
    """Meters of keys with a daily budget, one for each key and day in UTC.

    What was used is written down after each request, so a kill of the process loses no more than
    the requests that were under way.

    Args:
        database: Where it is written down.
        outer: The meter around those of all keys: the engine's.
        now: The time, in UTC; tests give their own.
    """

    def __init__(
        self, database: Database, outer: Meter, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._outer = outer
        self._now = now
        self._meters: dict[str, tuple[str, DayMeter]] = {}

    @asynccontextmanager
    async def meter(self, caller: Caller) -> AsyncIterator[Meter | None]:
        """Yield the meter that a caller's programs are to run within; None for no limit.

        Raises:
            ApiError: Today's tokens are used up (429).
            StorageError: The disk refused.
        """
        key, limit = caller.key_id, caller.tokens_per_day
        if key is None or limit is None:
            yield None
            return
        day = self._now().date().isoformat()
        meter = await self._meter(key, day, limit)
        if meter.tokens >= limit:
            raise self._used_up(limit)
        try:
            yield meter
        finally:
            with CancelScope(shield=True):  # it counts although the client may have left
                await run_in_threadpool(self._write, key, day, meter.tokens)

    async def _meter(self, key: str, day: str, limit: int) -> DayMeter:
        if self._meters.get(key, ("",))[0] != day:
            tokens = await run_in_threadpool(self._read, key, day)
            if self._meters.get(key, ("",))[0] != day:  # no other request did it meanwhile
                meter = DayMeter(Budget(tokens=limit), self._outer, self._outer.clock)
                meter.used = Usage(input_tokens=tokens)
                self._meters[key] = day, meter
        return self._meters[key][1]

    def _read(self, key: str, day: str) -> int:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT tokens FROM key_tokens WHERE key_id = ? AND day = ?", (key, day)
            ).fetchone()
        return row["tokens"] if row else 0

    def _write(self, key: str, day: str, tokens: int) -> None:
        with self._database.write() as connection:
            # Of two requests that end together, the one with the lower count may come last.
            connection.execute(
                "INSERT INTO key_tokens VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
                "SET tokens = max(tokens, excluded.tokens)",
                (key, day, tokens),
            )

    def _used_up(self, limit: int) -> ApiError:
        now = self._now()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        seconds = int((midnight - now).total_seconds()) + 1
        return ApiError(
            429,
            "daily_tokens_used",
            f"the key's {limit:,} tokens of today are used; a new day begins at midnight UTC",
            headers={"Retry-After": str(seconds)},
        )

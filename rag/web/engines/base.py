"""What all engines share: queries side by side, paced, tried again, each with its own outcome."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args

from rag.core.background import BackgroundLoop
from rag.core.capabilities import Capability
from rag.core.errors import BatchError, EngineFailed, InputError, RagError
from rag.core.extras import require
from rag.core.offline import offline
from rag.core.sensitivity import Sensitivity
from rag.core.usage import Usage
from rag.core.web import TimeRange, WebQuery, WebResults
from rag.web.engines.failures import Failure
from rag.web.engines.rate_limit import RateLimit
from rag.web.engines.results import Entry, ranked

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

_CONCURRENCY = 16
"""Attempts in flight at most."""

_FIRST_PAUSE = 0.5
_JITTER = 0.5


class WebSearchEngine(ABC):
    """A search engine, for any number of threads.

    Attempts run on one event loop in a thread of its own, no more often than `per_second`. Those
    that failed in a way that may pass are made again, after exponentially longer pauses with
    jitter, or after what the engine asks for; one that did not end in time is not made again.

    Args:
        resource: What the attempts work with; it is entered and left on the loop.
        price: What a request costs, in a currency of your choice.
        discloses: The tags of what the engine may be told.
        per_second: Attempts that are begun in a second, at most.
        timeout: Seconds for an attempt.
        max_attempts: Attempts at a request, at most.
    """

    name: str
    capabilities: frozenset[Capability] = frozenset({"concurrent"})

    def __init__(
        self,
        resource: AbstractAsyncContextManager[Any],
        *,
        price: float,
        discloses: Sensitivity,
        per_second: float,
        timeout: float,
        max_attempts: int,
    ) -> None:
        if min(per_second, timeout, max_attempts) <= 0:
            raise InputError("per_second, timeout and max_attempts have to be above 0")
        require("tenacity", extra="web", needed_for="searching the web")
        self.price = price
        self.discloses = discloses
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._rate = RateLimit(per_second)
        self._loop = BackgroundLoop(resource)

    def search_web(self, queries: Sequence[WebQuery]) -> list[WebResults]:
        """Return what is found for each query; see `SearchEngine.search_web`.

        Raises:
            EngineFailed: The only query could not be asked.
            InputError: The only query is blank, or asks for less than one result.
            BatchError: Some of several queries failed; the others' results are inside.
        """
        closed = EngineFailed(self.name, "unreachable", "it is closed; make a new one")
        outcomes = self._loop.run(self._outcomes(queries), closed)
        failures = [outcome for outcome in outcomes if isinstance(outcome, RagError)]
        if failures:
            raise failures[0] if len(outcomes) == 1 else BatchError(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, WebResults)]

    def cost(self, query: WebQuery) -> float:
        """Return what a search costs at most; attempts that fail are not counted."""
        return self.price

    def close(self) -> None:
        """End what is in flight."""
        self._loop.close()

    def __enter__(self) -> Self:
        """Return the engine, which is closed in the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the engine."""
        self.close()

    @property
    @abstractmethod
    def _on_this_machine(self) -> bool:
        """Whether it is asked without the network."""

    @abstractmethod
    async def _search(self, query: WebQuery) -> WebResults:
        """Return what is found.

        Raises:
            EngineFailed: The query could not be asked.
        """

    async def _outcomes(self, queries: Sequence[WebQuery]) -> list[WebResults | RagError]:
        return await asyncio.gather(*map(self._outcome, queries))

    async def _outcome(self, query: WebQuery) -> WebResults | RagError:
        try:
            _check(query)
            if offline() and not self._on_this_machine:
                raise EngineFailed(
                    self.name, "offline", "RAG_OFFLINE forbids to ask what is not on this machine"
                )
            return await self._search(query)
        except (EngineFailed, InputError) as error:
            return error

    async def _attempted(self, once: Callable[[], Awaitable[T]]) -> tuple[T, int]:
        """Make attempts until one succeeds; return its result and how many had failed.

        Raises:
            EngineFailed: The last one failed.
        """
        import tenacity

        attempts = 0

        async def attempt() -> T:
            nonlocal attempts
            async with self._slots:
                await self._rate.turn()
                attempts += 1
                try:
                    async with asyncio.timeout(self._timeout):
                        return await once()
                except TimeoutError:
                    late = f"no answer within {self._timeout:g} s; give a longer timeout"
                    raise Failure("timeout", late) from None

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: getattr(error, "passing", False)),
            stop=tenacity.stop_after_attempt(self._max_attempts),
            wait=_pause,
            reraise=True,
        )
        try:
            return await retrying(attempt), attempts - 1
        except Failure as failure:
            raise self._failed(failure, attempts) from None

    def _failed(self, failure: Failure, attempts: int) -> EngineFailed:
        return EngineFailed(
            self.name, failure.cause, failure.reason, status=failure.status, attempts=attempts
        )

    def _results(
        self,
        entries: Sequence[Entry],
        query: WebQuery,
        notes: Sequence[str],
        *,
        requests: int,
        retries: int,
    ) -> WebResults:
        usage = Usage(searches=1, cost=self.price * requests, retries=retries)
        return WebResults(ranked(entries, self.name, query.count), tuple(notes), usage)


def _check(query: WebQuery) -> None:
    if not query.text.strip():
        raise InputError("a web search needs a query that is not blank")
    if query.count < 1:
        raise InputError(f"{query.count} results were asked for; ask for at least 1")
    if query.time_range not in (None, *get_args(TimeRange)):
        raise InputError(f"no time range '{query.time_range}'; {get_args(TimeRange)} are known")


def _pause(state: RetryCallState) -> float:
    """Return the seconds before the next attempt."""
    from tenacity import wait_exponential, wait_random

    failure = state.outcome.exception() if state.outcome else None
    asked: float = getattr(failure, "pause", 0.0)
    pause = wait_exponential(_FIRST_PAUSE) + wait_random(0, _JITTER)
    return max(asked, pause(state))

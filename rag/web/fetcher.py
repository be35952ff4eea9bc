"""Fetching pages of the web."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.client import responses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakValueDictionary

from rag import __version__
from rag.core.background import BackgroundLoop
from rag.core.capabilities import Capability
from rag.core.errors import BatchError, FetchFailed, InputError
from rag.core.extras import require
from rag.core.web import Page
from rag.models.http.failures import retry_after
from rag.web.addresses import Guard, parse_url
from rag.web.failures import Failure
from rag.web.freshness import Exchange
from rag.web.http_cache import HttpCache
from rag.web.reading import read_page
from rag.web.redirects import REDIRECTS, Route
from rag.web.replies import Reply
from rag.web.robots import Robots

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

USER_AGENT = f"ragmeter/{__version__} (+https://pypi.org/project/ragmeter)"
_ACCEPTED = "text/html,application/xhtml+xml,application/pdf,text/plain,text/*;q=0.9,*/*;q=0.1"
_FILE_BYTES = 512 * 2**20
_MEMORY_BYTES = 64 * 2**20


@dataclass(slots=True)
class _Visit:
    """How far the fetching of a page has come.

    Args:
        asked: The URL as it was given.
        route: Where the page is looked for.
        seconds: How long servers may still take.
        retries: Attempts that have failed.
    """

    asked: str
    route: Route
    seconds: float
    retries: int = 0


class WebFetcher:
    """Fetches and reads pages of the web, for any number of threads.

    - Only public addresses are contacted, unless `allow` names others: each host is looked up
      once, all its addresses are checked, and the connection leads to what was checked. Redirects
      are held to the same, five at most, and not from https to http. No cookies, credentials or
      proxies are used, whatever the environment holds.
    - Answers are kept and used again as RFC 9111 has it. RAG_OFFLINE leaves those that are fresh,
      and this machine.
    - What a site's robots.txt disallows is not fetched.
    - A connection that failed, and a server that is overloaded, is asked once more.

    Pages are read on one thread, while others are on their way.

    Args:
        cache: SQLite file for answers, at most 512 MiB of them; None for 64 MiB in memory.
        allow: Hosts, addresses and networks that may be contacted though they are not public,
            such as '10.0.0.0/8' or 'wiki.internal'.
        respect_robots: Whether to keep to robots.txt.
        max_bytes: Bytes of a body, as sent and as decoded, at most.
        timeout: Seconds for a page from the lookup of its host to the last byte, redirects and
            retries included; robots.txt has as long again, and waiting for a place does not count.
        concurrency: Pages in work at once.
        per_host: Of these, pages of one host.
        user_agent: What servers are told of who asks; robots.txt is matched with its first word.
        clock: Seconds since the epoch.

    Raises:
        InputError: A value cannot be used.
        MissingExtra: A package is missing.
        StorageError: The cache file cannot be used.
    """

    capabilities: frozenset[Capability] = frozenset({"concurrent"})

    def __init__(
        self,
        *,
        cache: Path | None = None,
        allow: Sequence[str] = (),
        respect_robots: bool = True,
        max_bytes: int = 8 * 2**20,
        timeout: float = 20.0,
        concurrency: int = 32,
        per_host: int = 4,
        user_agent: str = USER_AGENT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for package in ("httpx2", "protego"):
            require(package, extra="web", needed_for="fetching pages")
        from rag.web.connections import Connections

        if min(max_bytes, concurrency, per_host) < 1 or timeout <= 0:
            raise InputError("max_bytes, timeout, concurrency and per_host must be positive")
        if not (user_agent.isascii() and user_agent.isprintable() and user_agent):
            raise InputError("the user agent must be printable ASCII")
        self._timeout = timeout
        self._per_host = per_host
        self._clock = clock
        self._guard = Guard(allow)
        self._headers = {
            "User-Agent": user_agent,
            "Accept": _ACCEPTED,
            "Accept-Encoding": "gzip, deflate",
        }
        self._cache = HttpCache(cache, _FILE_BYTES if cache else _MEMORY_BYTES)
        self._connections = Connections(
            self._guard, headers=self._headers, max_bytes=max_bytes, idle=concurrency
        )
        self._robots = Robots(self._connections.get, user_agent, timeout, clock)
        self._respect_robots = respect_robots
        self._places = asyncio.Semaphore(concurrency)
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="rag-web-cache")
        # Parsers hold the interpreter's lock, and not all of them may run on two threads.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="rag-web-reader")
        # What is closed must not refer to this object, or nobody could forget it.
        closing = AsyncExitStack()
        closing.callback(self._cache.close)
        closing.callback(self._disk.shutdown, cancel_futures=True)
        closing.callback(self._reader.shutdown, wait=False, cancel_futures=True)
        closing.push_async_callback(self._connections.close)
        self._loop = BackgroundLoop(closing)

    def fetch(self, url: str) -> Page:
        """Return the page of one URL; raises as `fetch_many` does."""
        (page,) = self.fetch_many([url])
        return page

    def fetch_many(self, urls: Sequence[str]) -> list[Page]:
        """Return the page of each URL; one that is asked for twice is fetched once.

        Raises:
            FetchFailed: The only page could not be fetched or read.
            BatchError: Some of several pages could not; the others are inside.
            StorageError: The cache file can no longer be used; with several pages, in the
                BatchError.
            InputError: The fetcher is closed.
        """
        distinct = list(dict.fromkeys(urls))
        found = dict(zip(distinct, self._run(self._fetch_all(distinct)), strict=True))
        results = [found[url] for url in urls]
        pages = [result for result in results if isinstance(result, Page)]
        if len(pages) == len(results):
            return pages
        if len(results) == 1 and isinstance(results[0], BaseException):
            raise results[0]
        raise BatchError(results)

    def close(self) -> None:
        """End what is in flight, and all connections."""
        self._loop.close()

    def __enter__(self) -> Self:
        """Return the fetcher."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it."""
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(coroutine, InputError("the fetcher is closed; make a new one"))

    async def _fetch_all(self, urls: Sequence[str]) -> list[Page | BaseException]:
        return await asyncio.gather(*map(self._fetch, urls), return_exceptions=True)

    async def _fetch(self, asked: str) -> Page:
        """Return a page, wherever it is; say of every failure on the way which page it befell."""
        visit: _Visit | None = None
        try:
            visit = _Visit(asked, Route(parse_url(asked)), self._timeout)
            return await self._followed(visit)
        except (Failure, FetchFailed) as error:
            where = f"it redirects to {visit.route.url}: " if visit and visit.route.moved else ""
            reason = where + error.reason
            raise FetchFailed(asked, error.cause, reason, status=error.status) from error

    async def _followed(self, visit: _Visit) -> Page:
        while True:
            # A page keeps its place until it is read, so that few are in memory at once.
            async with self._place(visit.route.url.host):
                exchange, from_cache = await self._exchange(visit)
                if exchange.reply.status not in REDIRECTS:
                    return await self._page(visit, exchange, from_cache)
            visit.route.follow(exchange.reply.location)

    @asynccontextmanager
    async def _place(self, host: str) -> AsyncIterator[None]:
        slots = self._hosts.setdefault(host, asyncio.Semaphore(self._per_host))
        async with slots, self._places:
            yield

    async def _exchange(self, visit: _Visit) -> tuple[Exchange, bool]:
        """Return what a server answers, and whether that was at hand already."""
        url = visit.route.url
        known = await self._known(url)
        if known and known.is_fresh(self._clock()):
            return known, True
        if self._respect_robots:
            await self._robots.check(url)
        asked = self._clock()
        reply = await self._reply(visit, known.conditions if known else {})
        received = self._clock()
        confirmed = known if reply.status == 304 else None
        exchange = (
            confirmed.confirmed(reply, asked, received)
            if confirmed
            else Exchange.of(str(url), reply, self._headers, asked, received)
        )
        if exchange.may_be_kept:
            await self._on(self._disk, self._cache.keep, exchange)
        elif known:
            await self._on(self._disk, self._cache.drop, str(url))
        return exchange, confirmed is not None

    async def _known(self, url: httpx2.URL) -> Exchange | None:
        """Return what is kept of a URL, if it came from where requests may go now."""
        known = await self._on(self._disk, self._cache.find, str(url))
        if known and known.answers(self._headers):
            return known if self._guard.permits(url.host, known.reply.address) else None
        return None

    async def _reply(self, visit: _Visit, conditions: Mapping[str, str]) -> Reply:
        """Ask a server within the time that is left."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(visit.seconds):
                reply = await self._connections.get(visit.route.url, conditions)
        except TimeoutError as error:
            reason = f"it did not come within {self._timeout:g} s; give a longer timeout"
            raise Failure("timeout", reason) from error
        visit.seconds -= loop.time() - started
        visit.retries += reply.retries
        return reply

    async def _page(self, visit: _Visit, exchange: Exchange, from_cache: bool) -> Page:
        reply = exchange.reply
        if not 200 <= reply.status < 300:
            raise _refused(reply)
        if not reply.body:
            raise Failure("unreadable", "it is empty", reply.status)
        confirmed = datetime.fromtimestamp(exchange.received, UTC)
        read = partial(
            read_page,
            reply.body,
            url=str(visit.route.url),
            content_type=reply.headers.get("content-type", ""),
            retrieved=confirmed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        document, links = await self._on(self._reader, read)
        return Page(visit.asked, document, links, from_cache, len(reply.body), visit.retries)

    async def _on(self, thread: ThreadPoolExecutor, call: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, call, *given)


def _refused(reply: Reply) -> Failure:
    """Return the failure of an answer that is no page."""
    reason = f"its server answered {reply.status} {responses.get(reply.status, '')}".rstrip()
    if pause := retry_after(reply.headers.get("retry-after", "")):
        reason += f" and asks to wait {pause:.0f} s"
    return Failure("status", reason, reply.status)

"""What sites let robots fetch: robots.txt, as RFC 9309 says."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.web.failures import Failure
from rag.web.redirects import REDIRECTS, Route
from rag.web.replies import Reply

if TYPE_CHECKING:
    import httpx2
    from protego import Protego

_MAX_BYTES = 500 * 1024
"""What lies beyond is not read."""
_SECONDS = 24 * 3600.0
_SECONDS_OF_FAILURE = 300.0
_ORIGINS = 1024
"""Sites whose rules are kept; the one that was asked for first goes first."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a site says.

    Args:
        parsed: Its robots.txt; None if it has none, which allows everything.
        failure: Why it could not be asked, which disallows everything; None if it could.
    """

    parsed: Protego | None = None
    failure: Failure | None = None


class Robots:
    """Says which URLs may be fetched; each site is asked once a day at most.

    A site that has no robots.txt (any 4xx) allows everything. One that cannot be asked disallows
    everything, and is asked again after five minutes. `Crawl-delay` is no part of the RFC and is
    not read: what is fetched is pages here and there, not whole sites.

    Args:
        get: Sends a request; raises `Failure`.
        user_agent: The User-Agent whose product token rules are matched with.
        timeout: Seconds for a robots.txt, redirects and all.
        clock: Seconds since some moment.
    """

    def __init__(
        self,
        get: Callable[[httpx2.URL], Awaitable[Reply]],
        user_agent: str,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._get = get
        token = re.match(r"[A-Za-z_-]+", user_agent)
        self._agent = token[0] if token else "*"
        self._timeout = timeout
        self._clock = clock
        self._asked: OrderedDict[str, tuple[float, asyncio.Task[_Rules]]] = OrderedDict()

    async def check(self, url: httpx2.URL) -> None:
        """Refuse a URL that may not be fetched.

        Raises:
            Failure: It is disallowed, or its site could not be asked.
        """
        rules = await self._rules(url)
        if rules.failure and rules.failure.cause in ("address", "offline"):
            raise rules.failure
        if rules.failure:
            reason = "its site's robots.txt cannot be asked for, which disallows everything"
            raise Failure("robots", f"{reason}: {rules.failure}", rules.failure.status)
        if rules.parsed and not rules.parsed.can_fetch(str(url), self._agent):
            raise Failure("robots", "its site's robots.txt disallows it; read another page")

    async def _rules(self, url: httpx2.URL) -> _Rules:
        origin = f"{url.scheme}://{url.netloc.decode()}"
        now = self._clock()
        asked, task = self._asked.get(origin, (-_SECONDS, None))
        if task is None or now - asked >= _lasts(task):
            task = asyncio.create_task(self._load(url.join("/robots.txt")))
            self._asked[origin] = now, task
            if len(self._asked) > _ORIGINS:
                self._asked.popitem(last=False)
        # Whoever stops waiting must not take the answer from the others.
        return await asyncio.shield(task)

    async def _load(self, url: httpx2.URL) -> _Rules:
        from protego import Protego

        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._followed(Route(url))
        except TimeoutError:
            return _Rules(failure=Failure("timeout", f"no answer within {self._timeout:g} s"))
        except Failure as failure:
            return _Rules(failure=failure)
        if 400 <= reply.status < 500:
            return _Rules()
        if not 200 <= reply.status < 300:
            reason = f"its server answered {reply.status}"
            return _Rules(failure=Failure("status", reason, reply.status))
        text = reply.body[:_MAX_BYTES].decode("utf-8-sig", "replace")
        return _Rules(await asyncio.to_thread(Protego.parse, text))

    async def _followed(self, route: Route) -> Reply:
        while (reply := await self._get(route.url)).status in REDIRECTS:
            route.follow(reply.location)
        return reply


def _lasts(task: asyncio.Task[_Rules]) -> float:
    """Return for how many seconds an answer counts, or a request that is under way."""
    failed = task.done() and (task.cancelled() or task.exception() or task.result().failure)
    return _SECONDS_OF_FAILURE if failed else _SECONDS

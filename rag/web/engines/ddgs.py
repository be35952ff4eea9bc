"""ddgs, a library that asks several search engines without a key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from rag.core.extras import require
from rag.core.sensitivity import PUBLIC, Sensitivity
from rag.core.web import WebQuery, WebResults
from rag.web.engines.base import WebSearchEngine
from rag.web.engines.failures import Failure
from rag.web.engines.results import Entry

_TIME_LIMITS = {"day": "d", "week": "w", "month": "m", "year": "y"}


class DDGS(WebSearchEngine):
    """What ddgs reads off the result pages of engines such as DuckDuckGo, Brave and Mojeek.

    It needs no key, and engines turn it away now and then. ddgs does not tell a source that
    refuses from one that finds nothing, so a search without results is a failure here, not a
    finding. It takes a proxy from DDGS_PROXY.

    Args:
        price: What a search costs.
        discloses: The tags of what the engines may be told.
        per_second: Searches that are begun in a second, at most.
        timeout: Seconds for a search; one that takes longer ends unheeded.
        max_attempts: Attempts at a search, at most.
        client: Makes what is asked, once a search: `ddgs.DDGS`, or a partial of it.
    """

    name = "ddgs"

    def __init__(
        self,
        *,
        price: float = 0.0,
        discloses: Sensitivity = PUBLIC,
        per_second: float = 0.5,
        timeout: float = 30.0,
        max_attempts: int = 2,
        client: Callable[[], Any] | None = None,
    ) -> None:
        self._errors = require("ddgs.exceptions", extra="ddgs", needed_for="searching with ddgs")
        # One for each search: a ddgs.DDGS keeps the current query in its sources.
        self._client = client or require("ddgs", extra="ddgs", needed_for="ddgs").DDGS
        super().__init__(
            nullcontext(),
            price=price,
            discloses=discloses,
            per_second=per_second,
            timeout=timeout,
            max_attempts=max_attempts,
        )

    @property
    def _on_this_machine(self) -> bool:
        return False

    async def _search(self, query: WebQuery) -> WebResults:
        async def once() -> list[Entry]:
            return await asyncio.to_thread(self._found, query)

        entries, retries = await self._attempted(once)
        return self._results(entries, query, (), requests=1, retries=retries)

    def _found(self, query: WebQuery) -> list[Entry]:
        limit = query.time_range and _TIME_LIMITS[query.time_range]
        try:
            found = self._client().text(query.text, timelimit=limit, max_results=query.count)
        except self._errors.RatelimitException as error:
            raise Failure(
                "rate_limited", f"{error}; give a lower per_second", passing=True
            ) from None
        except self._errors.TimeoutException as error:
            raise Failure("timeout", f"its sources did not answer in time: {error}") from None
        except self._errors.DDGSException as error:
            raise _failure(str(error)) from None
        return [Entry(each["href"], each["title"], each["body"]) for each in found]


def _failure(said: str) -> Failure:
    if "No results found" in said:
        return Failure(
            "blocked",
            "none of its sources gave a result, and ddgs does not say whether they found nothing "
            "or refused to serve it; ask less often, or another engine",
        )
    return Failure("unreachable", f"its sources failed: {said}", passing=True)

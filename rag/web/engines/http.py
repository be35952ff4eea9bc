"""Engines that are asked over HTTP and answer with JSON."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from rag.core.errors import EngineFailed
from rag.core.extras import require
from rag.core.sensitivity import PUBLIC, Sensitivity
from rag.core.web import EngineFailure, WebQuery, WebResults
from rag.models.http.endpoint import endpoint, is_loopback
from rag.web.engines.base import WebSearchEngine
from rag.web.engines.failures import Failure, challenged, explained, is_challenge, not_results
from rag.web.engines.results import Entry, ResultPage

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an engine for one page of results.

    Args:
        method: 'GET' or 'POST'.
        path: Path below the base URL.
        fields: Parameters of the URL of a GET, or the JSON of a POST; None leaves one out.
    """

    method: Literal["GET", "POST"]
    path: str
    fields: Mapping[str, Any]


class HTTPSearchEngine(WebSearchEngine):
    """An engine behind an HTTP API, which pages its results.

    Neither redirects are followed nor proxies or credentials of the environment used: nothing is
    contacted but the engine.

    Args:
        base_url: Where the engine is; its own address by default. A key is sent over https only,
            or on this machine.
        price: What a request costs; one page of results is one request.
        discloses: The tags of what the engine may be told.
        per_second: Attempts that are begun in a second, at most; the engine's own by default.
        timeout: Seconds for an answer.
        max_attempts: Attempts at a request, at most.

    Attributes:
        url: The engine's own address; '' where it has none.
        key_env: The environment variable with the API key; '' for an engine without one.
        default_per_second: Attempts a second that suit the engine's smallest plan.
        per_page: Results of one page.
        pages: Pages that are asked for, at most.
        longest: Characters and words of the longest query that the engine reads, if limited.
        hints: What to add to the reason of some kinds of failure.

    Raises:
        EngineFailed: There is no key in the environment.
        InputError: The base URL cannot be used, or the key would travel in the clear.
    """

    url: str = ""
    key_env: str = ""
    default_per_second: float
    per_page: int
    pages: int = 10
    longest: tuple[int, int] | None = None
    hints: Mapping[EngineFailure, str] = MappingProxyType({})

    def __init__(
        self,
        base_url: str = "",
        *,
        price: float = 0.0,
        discloses: Sensitivity = PUBLIC,
        per_second: float | None = None,
        timeout: float = 20.0,
        max_attempts: int = 3,
    ) -> None:
        require("httpx2", extra="web", needed_for="searching the web")
        import httpx2

        self._endpoint = endpoint(base_url or self.url, self.key_env)
        if self.key_env and not self._endpoint.key:
            raise EngineFailed(
                self.name, "key", f"it needs an API key; put one into {self.key_env}"
            )
        self._client = httpx2.AsyncClient(timeout=None, trust_env=False)
        super().__init__(
            self._client,
            price=price,
            discloses=discloses,
            per_second=self.default_per_second if per_second is None else per_second,
            timeout=timeout,
            max_attempts=max_attempts,
        )

    def cost(self, query: WebQuery) -> float:
        """Return what a search costs at most: each page of results is paid for."""
        return self.price * self._pages_for(query)

    def _pages_for(self, query: WebQuery) -> int:
        return min(self.pages, ceil(query.count / self.per_page))

    @abstractmethod
    def _request(self, query: WebQuery, page: int) -> Request:
        """Return what is asked for a page of results, the first of which is 1."""

    @abstractmethod
    def _read(self, answer: Mapping[str, Any]) -> ResultPage:
        """Return the results of an answer; one of another shape raises what comes of it.

        Raises:
            Failure: The answer says that the engine could not search.
        """

    def _headers(self, key: str) -> dict[str, str]:
        """Return the headers that carry the key."""
        return {}

    @property
    def _on_this_machine(self) -> bool:
        return is_loopback(self._endpoint.base)

    async def _search(self, query: WebQuery) -> WebResults:
        query, notes = self._fitting(query)
        entries: list[Entry] = []
        retries = page = 0
        for page in range(1, self._pages_for(query) + 1):
            once = partial(self._page, self._request(query, page))
            try:
                found, retried = await self._attempted(once)
            except EngineFailed as failure:
                if page == 1:
                    raise
                retries += failure.attempts - 1
                notes.append(
                    f"{self.name}: page {page} of the results is missing: {failure.reason}"
                )
                break
            retries += retried
            notes += found.notes
            entries += found.entries
            if not found.entries:
                break
        notes = list(dict.fromkeys(notes))
        return self._results(entries, query, notes, requests=page, retries=retries)

    def _fitting(self, query: WebQuery) -> tuple[WebQuery, list[str]]:
        """Return a query that the engine reads, and what had to be left out for that."""
        # Halves of surrogate pairs, which UTF-8 has no bytes for, become U+FFFD.
        text = query.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
        notes = []
        if self.longest and (len(text) > self.longest[0] or len(text.split()) > self.longest[1]):
            characters, words = self.longest
            text = " ".join(text.split()[:words])[:characters].strip()
            notes.append(f"{self.name} reads no longer queries and was asked: {text}")
        if query.count > (most := self.per_page * self.pages):
            notes.append(f"{self.name} gives no more than {most} results")
        return WebQuery(text, query.count, query.time_range), notes

    async def _page(self, request: Request) -> ResultPage:
        answer = await self._answer(request)
        try:
            return self._read(answer)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            wrong = self._endpoint.redacted(repr(error))
            reason = f"its answer has another shape than results have: {wrong}"
            raise Failure("malformed", reason, 200) from None

    async def _answer(self, request: Request) -> dict[str, Any]:
        """Return the object that the engine answers with."""
        import httpx2

        endpoint = self._endpoint
        fields = {name: value for name, value in request.fields.items() if value is not None}
        # A short name of our own: SearXNG turns away what names a library.
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # what is packed may unpack to any size
            "User-Agent": "ragmeter",
            **self._headers(endpoint.key),
        }
        url = f"{endpoint.base}/{request.path}"
        try:
            async with self._client.stream(
                request.method,
                url,
                headers=headers,
                params=fields if request.method == "GET" else None,
                json=fields if request.method == "POST" else None,
            ) as response:
                text = endpoint.redacted((await _content(response)).decode(errors="replace"))
        except httpx2.RequestError as error:
            passing = isinstance(error, (httpx2.NetworkError, httpx2.RemoteProtocolError))
            reason = f"no answer: {endpoint.redacted(repr(error))}"
            raise Failure("unreachable", reason, passing=passing) from None
        if response.status_code != 200:
            failure = explained(response.status_code, response.headers, text, endpoint)
            failure.reason += self.hints.get(failure.cause, "")
            raise failure
        return _parsed(response.headers, text)


async def _content(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise Failure("malformed", f"the answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
    return bytes(content)


def _parsed(headers: Mapping[str, str], text: str) -> dict[str, Any]:
    if is_challenge(headers, text):
        raise challenged(200)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise not_results(text) from None
    if not isinstance(answer, dict):
        raise not_results(text)
    return answer

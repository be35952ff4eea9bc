"""Requests to one server: pooled, bounded, retried, and cancelled when nobody waits for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from rag.core.background import BackgroundLoop
from rag.core.errors import CallFailed, ModelError
from rag.core.extras import require
from rag.models.http.endpoint import Endpoint
from rag.models.http.failures import Failure, explain, not_json

if TYPE_CHECKING:
    import httpx2
    from tenacity import RetryCallState

T = TypeVar("T")

CONNECT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 2**20
_FIRST_PAUSE = 0.5
_JITTER = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON that a server sent.

    Args:
        data: The object.
        retries: Attempts that had failed before.
    """

    data: dict[str, Any]
    retries: int


class Transport:
    """Asks one server, for any number of threads.

    All requests run on one event loop in a thread of its own, at most `concurrency` at a time,
    over connections that are kept. Attempts that failed in a way that may pass are made again,
    after exponentially longer pauses with jitter, or after what the server asks for; an answer
    that did not come in time is not asked for again.

    Neither redirects are followed nor proxies or credentials of the environment used: nothing
    is contacted but the server.

    Args:
        endpoint: The server.
        model: The model's name, for errors.
        concurrency: Requests in flight at most.
        timeout: Seconds for a whole answer, or for the next event of a stream.
        max_attempts: Attempts at a request, at most.
    """

    def __init__(
        self, endpoint: Endpoint, model: str, *, concurrency: int, timeout: float, max_attempts: int
    ) -> None:
        needed_for = "asking a model server"
        require("httpx2", extra="http", needed_for=needed_for)
        require("tenacity", extra="http", needed_for=needed_for)
        import httpx2

        self.endpoint = endpoint
        self.model = model
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._slots = asyncio.Semaphore(concurrency)
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_keepalive_connections=concurrency),
            trust_env=False,
        )
        self._loop = BackgroundLoop(self._client)

    def get(self, url: str) -> dict[str, Any]:
        """Return the object at a URL.

        Raises:
            CallFailed: There was no answer, or no good one.
        """
        return self._run(self._fetch("GET", url)).data

    def post(self, url: str, body: object) -> dict[str, Any]:
        """Return the answer to one request; raises as `get` does."""
        return self._run(self._fetch("POST", url, body)).data

    def post_all(self, requests: Sequence[tuple[str, object]]) -> list[Answer | ModelError]:
        """Make requests side by side; return the answer, or the error, of each URL and body."""

        async def each(url: str, body: object) -> Answer | ModelError:
            try:
                return await self._fetch("POST", url, body)
            except ModelError as error:
                return error

        async def together() -> list[Answer | ModelError]:
            return await asyncio.gather(*(each(url, body) for url, body in requests))

        return self._run(together())

    def stream(self, url: str, body: object) -> Iterator[Answer]:
        """Yield the events of an answer as they come; closing the iterator ends the request."""
        events: SimpleQueue[Answer | None] = SimpleQueue()

        async def pump() -> None:
            async for event in self._events(url, body):
                events.put(event)

        yield from self._loop.stream(pump(), events, self._closed())

    def failed(self, failure: Failure, attempts: int = 1) -> CallFailed:
        """Return the error of a call that failed, without the key that a server may repeat."""
        reason = self.endpoint.redacted(failure.reason)
        return CallFailed(self.model, reason, status=failure.status, attempts=attempts)

    def close(self) -> None:
        """End what is in flight, and all connections."""
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(coroutine, self._closed())

    def _closed(self) -> CallFailed:
        return CallFailed(self.model, "the backend is closed; make a new one")

    async def _fetch(self, method: str, url: str, body: object = None) -> Answer:
        return Answer(*await self._retried(partial(self._exchange, method, url, body)))

    async def _exchange(self, method: str, url: str, body: object) -> dict[str, Any]:
        try:
            async with self._slots, asyncio.timeout(self._timeout), AsyncExitStack() as stack:
                response = await self._open(stack, method, url, body)
                return _parsed((await _content(response)).decode(errors="replace"))
        except TimeoutError as error:
            raise self._too_late() from error

    async def _open(
        self, stack: AsyncExitStack, method: str, url: str, body: object
    ) -> httpx2.Response:
        """Send a request and return the response once its head says that all is well."""
        content = None if body is None else _encoded(body)
        request = self._client.stream(method, url, content=content)
        response = await stack.enter_async_context(request)
        if response.status_code != 200:
            content = await _content(response)
            raise explain(
                self.model, self.endpoint, response.status_code, response.headers, content
            )
        return response

    async def _events(self, url: str, body: object) -> AsyncIterator[Answer]:
        import httpx2

        async with AsyncExitStack() as stack:
            response, retries = await self._retried(partial(self._opened, stack, url, body))
            events = aiter(httpx2.EventSource(response))
            try:
                while True:
                    async with asyncio.timeout(self._timeout):
                        event = await anext(events, None)
                    if event is None or event.data == "[DONE]":
                        return
                    yield Answer(_parsed(event.data), retries)
            except TimeoutError as error:
                raise self.failed(self._too_late()) from error
            except Failure as error:
                raise self.failed(error) from error
            except httpx2.RequestError as error:
                raise self.failed(Failure(f"the stream broke off: {error!r}")) from error

    async def _opened(self, stack: AsyncExitStack, url: str, body: object) -> httpx2.Response:
        """Open a stream, which keeps its slot until the stack is left."""
        async with AsyncExitStack() as attempt:
            await attempt.enter_async_context(self._slots)
            try:
                async with asyncio.timeout(self._timeout):
                    response = await self._open(attempt, "POST", url, body)
            except TimeoutError as error:
                raise self._too_late() from error
            stack.push_async_exit(attempt.pop_all())
            return response

    async def _retried(self, once: Callable[[], Awaitable[T]]) -> tuple[T, int]:
        """Make attempts until one succeeds; return its result and how many had failed."""
        import httpx2
        import tenacity

        passing = (httpx2.ConnectTimeout, httpx2.NetworkError, httpx2.RemoteProtocolError)
        attempts = 0

        async def attempt() -> T:
            nonlocal attempts
            attempts += 1
            try:
                return await once()
            except passing as error:
                raise Failure(f"no answer: {error!r}", passing=True) from error
            except httpx2.RequestError as error:
                raise Failure(f"the request could not be made: {error!r}") from error

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: getattr(error, "passing", False)),
            stop=tenacity.stop_after_attempt(self._max_attempts),
            wait=_pause,
            reraise=True,
        )
        try:
            return await retrying(attempt), attempts - 1
        except Failure as failure:
            raise self.failed(failure, attempts) from failure

    def _too_late(self) -> Failure:
        return Failure(
            f"no answer within {self._timeout:g} s; give a longer timeout or fewer max_tokens"
        )


def _pause(state: RetryCallState) -> float:
    """Return the seconds before the next attempt."""
    from tenacity import wait_exponential, wait_random

    failure = state.outcome.exception() if state.outcome else None
    asked: float = getattr(failure, "pause", 0.0)
    pause = wait_exponential(_FIRST_PAUSE) + wait_random(0, _JITTER)
    return max(asked, pause(state))


def _encoded(body: object) -> bytes:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    # Unpaired surrogates, which UTF-8 has no bytes for, become U+FFFD.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


async def _content(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise Failure(f"the answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
    return bytes(content)


def _parsed(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise not_json(text, 200) from error
    if not isinstance(data, dict):
        raise not_json(text, 200)
    return data

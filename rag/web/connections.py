"""Requests over connections that lead to checked addresses and nowhere else."""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import Any

import httpcore2
import httpx2

from rag.models.http.failures import retry_after
from rag.web.addresses import Guard, check_online
from rag.web.failures import Failure
from rag.web.replies import Reply

_CONNECT_SECONDS = 5.0
"""For one address of a host, and again for the handshake."""
_ADDRESSES = 4
"""Addresses of a host that are tried."""
_IDLE_SECONDS = 15.0
_DRAINED = 64 * 2**10
"""Bytes of a body that nobody needs which are less trouble than another connection."""
_RESOLVERS = 16
_MAY_PASS = frozenset((429, 502, 503, 504))
_PAUSE = 0.5
"""Seconds before a request is made again, unless the server asks for more."""
_LONGEST_PAUSE = 5.0
_GZIP_MEMBERS = 16
_GZIP_START = b"\x1f\x8b"


class Connections:
    """Sends GET requests for any number of tasks of one event loop.

    A host is looked up once for a connection. All its addresses are checked, and the connection
    is made to one of these very addresses, so that a name that resolves to something else a moment
    later changes nothing; certificates are checked against the host's name.

    No cookies, credentials or proxies are used, whatever the environment holds.

    Args:
        guard: Says which addresses may be contacted.
        headers: What is sent with every request.
        max_bytes: Bytes of a body, as sent and as decoded, at most.
        idle: Connections that are kept while nobody uses them, at most.
    """

    def __init__(
        self, guard: Guard, *, headers: Mapping[str, str], max_bytes: int, idle: int
    ) -> None:
        self._headers = headers
        self._max_bytes = max_bytes
        self._backend = _GuardedBackend(guard)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=None,
            max_keepalive_connections=idle,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend,
        )

    async def get(self, url: httpx2.URL, headers: Mapping[str, str] | None = None) -> Reply:
        """Return the answer to a request, whatever its status; redirects are not followed.

        Where the connection failed, or the server is overloaded and does not ask for a long pause,
        the request is made once more.

        Args:
            url: The URL, as `parse_url` returns it.
            headers: What is sent besides.

        Raises:
            Failure: There was no answer, or its body cannot be used.
        """
        try:
            reply = await self._exchange(url, headers or {})
            if (pause := _pause(reply)) is None:
                return reply
        except Failure as failure:
            if failure.cause != "unreachable":
                raise
            pause = _PAUSE
        await asyncio.sleep(pause)
        return replace(await self._exchange(url, headers or {}), retries=1)

    async def close(self) -> None:
        """Close all connections."""
        self._backend.close()
        await self._pool.aclose()

    async def _exchange(self, url: httpx2.URL, headers: Mapping[str, str]) -> Reply:
        check_online(url.host)
        target = httpcore2.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        sent = {"Host": url.netloc.decode(), **self._headers, **headers}
        try:
            async with self._pool.stream(
                "GET",
                target,
                headers=[(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
                extensions={"timeout": {"connect": _CONNECT_SECONDS}},
            ) as response:
                return await self._received(response)
        except httpcore2.TimeoutException as error:
            reason = f"no connection within {_CONNECT_SECONDS:g} s"
            raise Failure("unreachable", reason) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            reason = f"the connection failed: {error or type(error).__name__}"
            raise Failure("unreachable", reason) from error

    async def _received(self, response: httpcore2.Response) -> Reply:
        headers: dict[str, str] = {}
        for name, value in response.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        announced = headers.get("content-length", "")
        size = int(announced) if announced.isdecimal() else None
        body = bytearray()
        if response.status in range(200, 300):
            if size is not None and size > self._max_bytes:
                raise _too_large(self._max_bytes)
            async for piece in response.aiter_stream():
                body += piece
                if len(body) > self._max_bytes:
                    raise _too_large(self._max_bytes)
        elif response.status == 304 or (size is not None and size <= _DRAINED):
            await response.aread()  # so that the connection can be used again
        stream = response.extensions["network_stream"]
        return Reply(
            response.status,
            headers,
            decoded(bytes(body), headers.get("content-encoding", ""), self._max_bytes),
            stream.get_extra_info("server_addr")[0],
        )


@cache
def _tls() -> ssl.SSLContext:
    """Return the system's certificates, which take a while to load."""
    return httpx2.create_ssl_context(trust_env=False)


def _pause(reply: Reply) -> float | None:
    """Return the seconds after which to ask again; None for not at all."""
    if reply.status not in _MAY_PASS:
        return None
    asked = retry_after(reply.headers.get("retry-after", ""))
    return max(asked, _PAUSE) if asked <= _LONGEST_PAUSE else None


def _too_large(max_bytes: int) -> Failure:
    """Return the failure of a body that has more bytes than are read."""
    return Failure("too_large", f"it has more than {max_bytes:,} bytes; raise `max_bytes`")


def decoded(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Return a body without its content coding; nothing beyond `max_bytes` is ever decoded.

    Args:
        body: What was sent.
        coding: The Content-Encoding: gzip, deflate (with a header or, as some servers do, without)
            or none.
        max_bytes: Bytes to decode at most.

    Raises:
        Failure: The body is longer, damaged, or in another coding.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity") or not body:
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Failure("unreadable", f"it is encoded as '{coding}', which was not asked for")
    headed = body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    bare = coding == "deflate" and not headed
    whole = bytearray()
    try:
        for _ in range(_GZIP_MEMBERS):
            decoder = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
            whole += decoder.decompress(body, max_bytes + 1 - len(whole))
            if len(whole) > max_bytes:
                raise _too_large(max_bytes)
            if not decoder.eof:
                raise Failure("unreadable", f"its {coding} data break off")
            body = decoder.unused_data
            if not body.startswith(_GZIP_START):
                return bytes(whole)
    except zlib.error as error:
        raise Failure("unreadable", f"its {coding} data are damaged: {error}") from error
    raise Failure("unreadable", f"its gzip data are in more than {_GZIP_MEMBERS} parts")


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to hosts, at addresses that it has looked up and checked."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._network = httpcore2.AnyIOBackend()
        # Lookups cannot be cancelled; those that hang must not hold up anything else.
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="rag-resolver")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failed: Exception = httpcore2.ConnectError("its host has no address")
        for address in (await self._addresses(host, port))[:_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed

    def close(self) -> None:
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _addresses(self, host: str, port: int) -> list[str]:
        lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._resolvers, lookup)
        except (OSError, UnicodeError) as error:
            raise Failure("unreachable", f"its host is not found: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self._guard.check(host, address)
        return addresses

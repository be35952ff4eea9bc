"""Loopback servers that answer as they are told to, however wrong that is."""

import asyncio
import gzip
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from rag.core.background import BackgroundLoop


@dataclass(frozen=True)
class Request:
    """What a server was asked."""

    path: str
    headers: dict[str, str]


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]
"""Answers a request."""


class Server:
    """Answers each path as it is told, those of '*' for all others, and 404 where there is none.

    Attributes:
        answers: How paths are answered.
        requests: What it was asked, but for robots.txt.
        robots: How often it was asked for robots.txt.
        most: Requests that were in flight at once, at most.
        most_of: The same, by the Host header.
    """

    def __init__(
        self,
        answers: Mapping[str, Behaviour] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.answers = dict(answers or {})
        self.requests: list[Request] = []
        self.robots = 0
        self.most = 0
        self.most_of: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._tls = tls
        self._address = address
        self._loop = BackgroundLoop(self._listening())
        self.url = f"http{'s' if tls else ''}://{address}:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The paths that it was asked for, but for robots.txt."""
        return [request.path for request in self.requests]

    def close(self) -> None:
        self._loop.close()

    def at(self, host: str, path: str = "/") -> str:
        """Return the URL of a path by another name of the server."""
        return f"{self.url.split(':')[0]}://{host}:{self.port}{path}"

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(
            self._connected, self._address, 0, ssl=self._tls, backlog=256
        )
        self.port: int = server.sockets[0].getsockname()[1]
        yield
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # TLS would wait for the client's farewell
            raise
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        (_, path, _), *lines = (line.split(" ", 2) for line in head.splitlines() if line)
        headers = {name.rstrip(":").lower(): " ".join(rest) for name, *rest in lines}
        request, host = Request(path, headers), headers["host"]
        if path == "/robots.txt":
            self.robots += 1
        else:
            self.requests.append(request)
        self._open[host] += 1
        self.most_of[host] = max(self.most_of[host], self._open[host])
        self.most = max(self.most, self._open.total())
        try:
            answer = self.answers.get(path, self.answers.get("*", missing))
            await (missing if path == "/robots.txt" and path not in self.answers else answer)(
                request, writer
            )
        finally:
            self._open[host] -= 1


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the beginning of an answer."""
    lines = [f"HTTP/1.1 {status} Some phrase", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def says(
    body: str | bytes = "", status: int = 200, kind: str = "text/plain; charset=utf-8", **more: str
) -> Behaviour:
    """Answer with a body; underscores in names of headers stand for hyphens."""
    content = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": kind, "Content-Length": str(len(content))}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, headers) + content)
        await writer.drain()

    return behave


missing = says("not here", 404)


def redirects(target: str, status: int = 302, **more: str) -> Behaviour:
    """Redirect to somewhere."""
    return says("", status, location=target, **more)


def zipped(body: bytes, coding: str = "gzip") -> Behaviour:
    """Answer with a compressed body."""
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = {
        "gzip": lambda: gzip.compress(body),
        "deflate": lambda: zlib.compress(body),
        "bare deflate": lambda: bare.compress(body) + bare.flush(),
    }[coding]()
    return says(packed, content_encoding=coding.split()[-1])


def raw(data: bytes) -> Behaviour:
    """Answer with these very bytes and hang up."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return behave


def endless(piece: bytes, pause: float = 0.0) -> Behaviour:
    """Send the beginning of an answer, and one piece after another for ever."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Type": "text/plain"}))
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return behave


def slow(seconds: float, then: Behaviour) -> Behaviour:
    """Wait before answering."""

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(request, writer)

    return behave


async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(3600)


async def resets(request: Request, writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    writer.transport.abort()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Answer each request by the next behaviour, and by the last one for ever."""
    script = list(behaviours)

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await (script.pop(0) if len(script) > 1 else script[0])(request, writer)

    return behave


def validated(body: str, etag: str = '"1"', **more: str) -> Behaviour:
    """Answer 304 to who has the body already."""
    headers = {"ETag": etag} | {name.replace("_", "-"): value for name, value in more.items()}

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.headers.get("if-none-match") == etag:
            writer.write(head(304, headers))
            await writer.drain()
        else:
            await says(body, etag=etag, **more)(request, writer)

    return behave

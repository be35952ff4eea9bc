"""A loopback server that answers as it is told to, however wrong that is."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from rag.core.background import BackgroundLoop

Behaviour = Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]]
"""Answers a request, given its body."""


@dataclass(frozen=True)
class Request:
    """What the server was asked."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FaultyServer:
    """Answers each POST by the next behaviour of its script, and by the last one for ever.

    Attributes:
        models: The entries of its list of models; None for no list.
        script: How the next requests are answered.
        requests: The POSTs that it saw.
        most: Requests that were in flight at once, at most.
        hung_up: Requests whose connection was closed before they were answered.
        connections: Connections that were opened.
    """

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] | None = [{"id": "model"}]
        self.script: list[Behaviour] = [written("fine")]
        self.requests: list[Request] = []
        self.most = 0
        self.hung_up = 0
        self.connections = 0
        self._open = 0
        self._loop = BackgroundLoop(self._listening())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        yield
        server.close()

    def close(self) -> None:
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        (method, path, _), *lines = (line.split(" ", 2) for line in head.splitlines() if line)
        headers = {name.rstrip(":").lower(): " ".join(rest) for name, *rest in lines}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            await self._listed(writer)
            return
        request = Request(path, headers, json.loads(content))
        self.requests.append(request)
        behaviour = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self._open += 1
        self.most = max(self.most, self._open)
        answering = asyncio.ensure_future(behaviour(request.body, writer))
        waiting = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((answering, waiting), return_when=asyncio.FIRST_COMPLETED)
            self.hung_up += not answering.done()
        finally:
            self._open -= 1
            answering.cancel()
            waiting.cancel()
            await asyncio.gather(answering, waiting, return_exceptions=True)

    async def _listed(self, writer: asyncio.StreamWriter) -> None:
        if self.models is None:
            await plain(404, {"detail": "Not Found"})({}, writer)
        else:
            await plain(200, {"object": "list", "data": self.models})({}, writer)


def response(status: int, content: bytes, **headers: str) -> bytes:
    """Return a whole response; the length that it states can be given."""
    fields = {"content_type": "application/json", "content_length": str(len(content)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + content


def plain(status: int, data: object, **headers: str) -> Behaviour:
    """Answer with JSON."""
    return raw(response(status, json.dumps(data).encode(), **headers))


def raw(*pieces: bytes, pause: float = 0.0, drop: bool = False) -> Behaviour:
    """Answer with bytes, pausing after each piece; then drop the connection, if told to."""

    async def answer(body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if drop:
            writer.close()

    return answer


def completion(text: object, finish: object = "stop", **fields: Any) -> dict[str, Any]:
    """Return a chat completion."""
    choice = {"index": 0, "message": {"content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    return {"choices": [choice], "usage": usage, **fields}


def written(
    text: object, finish: object = "stop", *, after: float = 0.0, **fields: Any
) -> Behaviour:
    """Answer with a chat completion, after some seconds."""
    return raw(
        b"", response(200, json.dumps(completion(text, finish, **fields)).encode()), pause=after / 2
    )


def echoing(after: float) -> Behaviour:
    """Answer with the last message, after some seconds."""

    async def answer(body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after)
        await written(body["messages"][-1]["content"])(body, writer)

    return answer


async def hang(body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def event(text: str = "", finish: str | None = None, **fields: Any) -> bytes:
    """Return an event of a stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], **fields}, ensure_ascii=False)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def streamed(*pieces: bytes, pause: float = 0.0) -> Behaviour:
    """Answer with a stream, and end it by closing the connection."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return raw(head, *pieces, pause=pause, drop=True)

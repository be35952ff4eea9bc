"""A loopback proxy that hides what kind of server is behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from rag.core.background import BackgroundLoop
from tests.models.http.faulty_server import plain


class HidingProxy:
    """Passes POSTs on to a server, and knows of nothing that can be got.

    Args:
        url: The server's base URL.
    """

    def __init__(self, url: str) -> None:
        self._behind = urlsplit(url)
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
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                await plain(404, {"detail": "Not Found"}, connection="close")({}, writer)
                return
            inner, outer = await asyncio.open_connection(self._behind.hostname, self._behind.port)
            outer.write(head)
            await asyncio.gather(_copy(reader, outer), _copy(inner, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked hung up
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()

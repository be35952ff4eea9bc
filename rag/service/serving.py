"""The service as a process: where it listens, what it holds, and how it stops."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from rag.core.errors import InputError, StorageError
from rag.indexes.writer_lock import WriterLock
from rag.service.database import Database
from rag.service.keys import Keys
from rag.service.logs import log
from rag.service.service import name_of
from rag.service.settings import Server, Settings, default_data

_HEAD_BYTES = 32 << 10
"""Most bytes of a request's line and headers."""

_HEAD_SECONDS = 15
"""How long a client may take for them."""

_STOPPED_AT_ONCE = 130


def data_for(sources: Sequence[Path]) -> Path:
    """Return the folder of a service that was given none: its own for each set of sources.

    Args:
        sources: What it serves.
    """
    if not sources:
        return default_data()
    paths = [path.resolve() for path in sources]
    which = sha256("\0".join(sorted(map(str, paths))).encode()).hexdigest()[:8]
    return default_data() / f"{name_of(paths[0])}-{which}"


def check_keys(settings: Settings) -> None:
    """Refuse to listen where others reach the service and nobody needs a key.

    Raises:
        InputError: It would.
    """
    server = settings.server
    if not server.local and not Keys(Database(settings.data / "service.sqlite")).exist():
        raise InputError(
            f"whoever reaches {server.host} could use the service without a key; make one with "
            f"`rag keys create NAME --scope admin --data {settings.data}`, or listen on 127.0.0.1"
        )


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold a service's folder, so that no other service works in it.

    Raises:
        CollectionLocked: Another one does; the error names it.
        StorageError: The folder cannot be written.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(str(data), f"cannot be made: {error.strerror}") from error
    lock = WriterLock(data)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def bound(server: Server) -> socket.socket:
    """Take the port; nobody is answered before the service listens on it.

    Raises:
        InputError: There is no such address, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Where the protocol is not named, asyncio leaves Nagle's algorithm on: 40 ms a reply.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise InputError(
            f"cannot listen on {server.host}, port {server.port}: {error.strerror}; stop what "
            "listens there, or choose another --port (0 takes one that is free)"
        ) from error
    return listener


def keep_loaded() -> None:
    """Have the garbage collector pass over what is there by now: models and libraries stay.

    It would look through their half a million objects again and again, for a tenth of a second in
    which no request goes on.
    """
    gc.collect()
    gc.freeze()


class ServiceServer(uvicorn.Server):
    """Serves the application until it is told to stop, and lets it finish what it has begun.

    Args:
        app: The application.
        settings: How it is run.
        started: Is called once requests are answered.
    """

    def __init__(self, app: FastAPI, settings: Settings, started: Callable[[], None]) -> None:
        self._app = app
        self._tell_started = started
        super().__init__(
            uvicorn.Config(
                app,
                # Not httptools, which reads headers of any length.
                http=_PatientHttp,
                ws="none",
                lifespan="off",  # `run_on` sees to it, so that errors come out as they are
                log_config=None,
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=_HEAD_BYTES,
                timeout_graceful_shutdown=settings.server.shutdown_seconds,
            )
        )

    def run_on(self, listener: socket.socket) -> None:
        """Open the service, serve it on a socket, and close it once it is told to stop.

        Raises:
            RagError: The service could not be opened.
        """
        asyncio.run(self._serve_on(listener))

    async def _serve_on(self, listener: socket.socket) -> None:
        async with self._app.router.lifespan_context(self._app):
            await self.serve(sockets=[listener])
        log.info("stopped")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._tell_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals to stop as what ends a service well, not as failures."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        each = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self.handle_exit) for number in each]
        try:
            yield
        finally:
            for number, handler in zip(each, before, strict=True):
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; end at once if Ctrl-C is pressed again.

        What was acknowledged is on disk, so nothing is lost by that.
        """
        if self.should_exit and sig == signal.SIGINT:
            os._exit(_STOPPED_AT_ONCE)
        self.should_exit = True
        self._app.state.stopping = True
        log.info("stopping", signal=signal.Signals(sig).name)


class _PatientHttp(H11Protocol):
    """HTTP whose clients have some time, but not forever, to say what they want."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._expect_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(_HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

"""The service on a port of loopback, in a thread of this process."""

import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx2
import uvicorn

from rag.core.protocols import LLM, Embedder
from rag.service.app import create_app
from rag.service.service import Service
from rag.service.settings import load_settings
from rag.testing import EchoLLM, HashEmbedder


class RunningService:
    """A service that answers on loopback; it runs while its context is entered.

    Args:
        data: Its folder.
        embedder: Its embedder.
        llm: Its model; None for none.
        sources: What it serves from the start.
        settings: Settings, nested as in the file.
    """

    def __init__(
        self,
        data: Path,
        *,
        embedder: Embedder | None = None,
        llm: LLM | None = None,
        sources: Sequence[Path] = (),
        **settings: Any,
    ) -> None:
        self.settings = load_settings(None, data=data, **settings)
        self.app = create_app(
            self.settings, embedder or HashEmbedder(), llm or EchoLLM(), sources=sources
        )
        config = uvicorn.Config(self.app, log_config=None, access_log=False, lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the service did not start"
            time.sleep(0.005)
        self.client = httpx2.Client(base_url=self.url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    @property
    def service(self) -> Service:
        """Its parts."""
        return self.app.state.service  # type: ignore[no-any-return]

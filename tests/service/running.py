"""The service on a port of loopback, in a thread of this process."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx2

from rag.core.protocols import LLM, Embedder
from rag.service.app import create_app
from rag.service.service import Service
from rag.service.serving import ServiceServer, bound
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
        self._started = threading.Event()
        self._server = ServiceServer(self.app, self.settings, self._started.set)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._socket:
            self._server.run_on(self._socket)

    def __enter__(self) -> Self:
        self._socket = bound(self.settings.server.model_copy(update={"port": 0}))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread.start()
        while not self._started.wait(0.1):
            assert self._thread.is_alive(), "the service did not start"
        self.client = httpx2.Client(base_url=self.url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """Have it stop once it has done what it has begun."""
        self._server.should_exit = True

    @property
    def service(self) -> Service:
        """Its parts."""
        return self.app.state.service  # type: ignore[no-any-return]

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cache
from typing import Any

import pytest

from rag.core.web import WebResult
from rag.web.engines import base, load_engine
from tests.web.engines.servers import APIS, KEY, EngineServer

Open = Callable[..., tuple[EngineServer, Any]]


@pytest.fixture(autouse=True, scope="module")
def environment() -> Iterator[None]:
    """Keys of every engine; pauses between attempts are brief."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BRAVE_API_KEY", "TAVILY_API_KEY", "SERPER_API_KEY", "GOOGLE_API_KEY"):
            patch.setenv(name, KEY)
        patch.setenv("GOOGLE_CSE_ID", "engine-id")
        patch.delenv("RAG_OFFLINE", raising=False)
        patch.setattr(base, "_FIRST_PAUSE", 0.01)
        patch.setattr(base, "_JITTER", 0.01)
        yield


def _opening() -> Iterator[Open]:
    """Yield a function that opens an engine on a server of its own, and close them in the end."""
    with ExitStack() as stack:

        def make(
            name: str, pages: Sequence[WebResult] = (), *, late: float = 0.0, **options: Any
        ) -> tuple[EngineServer, Any]:
            server = stack.enter_context(closing(EngineServer(APIS[name], pages, late=late)))
            engine = load_engine(f"{name}@{server.url}", **{"per_second": 1e4, **options})
            return server, stack.enter_context(engine)  # type: ignore[arg-type]

        yield make


opened = pytest.fixture(_opening, name="opened")
_opened_once = pytest.fixture(_opening, scope="module", name="_opened_once")


@pytest.fixture(scope="module")
def shared(_opened_once: Open) -> Open:
    """A function that opens an engine once a module, for tests that leave it as it was."""
    return cache(_opened_once)

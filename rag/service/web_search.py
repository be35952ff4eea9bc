"""The web as a source of answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rag.retrievers import WebRetriever
from rag.service.settings import Settings
from rag.web import WebFetcher, load_engine

if TYPE_CHECKING:
    from rag.core.protocols import Embedder


@contextmanager
def open_web(settings: Settings, embedder: Embedder) -> Iterator[WebRetriever | None]:
    """Open the retriever of the web that all requests share; None where no engine is named.

    Args:
        settings: How the service is run; pages are kept in its folder.
        embedder: Ranks what pages say.

    Raises:
        InputError: There is no such engine.
        EngineFailed: An engine's key is missing.
        MissingExtra: The extra `web` is not installed.
    """
    web = settings.web
    if not web.engines:
        yield None
        return
    engines = [load_engine(name) for name in web.engines]
    with WebFetcher(cache=settings.data / "web.sqlite", allow=web.allow) as fetcher:
        yield WebRetriever(
            engines,
            fetcher,
            embedder,
            results=web.results,
            pages=web.pages,
            per_domain=web.per_domain,
        )

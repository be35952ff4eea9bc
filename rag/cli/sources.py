"""What a question is asked of: a collection, the web, or both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.retrieval import as_location, make_retriever
from rag.cli.web_options import Searching

if TYPE_CHECKING:
    from rag.core.protocols import Embedder, Retriever


def collection_and_question(words: tuple[str, ...], use_web: bool) -> tuple[str | Path | None, str]:
    """Return what the words of a command line name."""
    if len(words) == 2:
        return as_location(words[0]), words[1]
    if len(words) == 1 and use_web:
        return None, words[0]
    raise click.UsageError("give COLLECTION and QUESTION, or QUESTION and --web")


@contextmanager
def open_sources(
    collection: str | Path | None,
    device: str,
    kind: str,
    searching: Searching | None,
    web_weight: float,
) -> Iterator[Retriever]:
    """Open what is searched: a collection, the web, or both."""
    from rag.indexes import open_collection
    from rag.models.registry import load_embedder
    from rag.retrievers import FederatedRetriever

    with ExitStack() as stack:
        embedder: Embedder | None = None
        sources: dict[str, Retriever] = {}
        if collection:
            opened = stack.enter_context(open_collection(collection, device=device))
            sources["collection"] = make_retriever(kind, opened)
            embedder = opened.embedder
        if searching:
            embedder = embedder or load_embedder()
            sources["web"] = stack.enter_context(searching.retriever(embedder))
        if len(sources) == 1:
            yield from sources.values()
        else:
            yield FederatedRetriever(sources, {"collection": 1.0, "web": web_weight})

"""What the service consists of, and how it is opened and closed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.core.async_engine import AsyncEngine
from rag.core.errors import InputError
from rag.indexes.manifest import MANIFEST_NAME
from rag.service.database import Database
from rag.service.library import Library
from rag.service.settings import Settings

if TYPE_CHECKING:
    from rag.core.protocols import LLM, Embedder


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service.

    Args:
        settings: How it is run.
        embedder: Embeds new collections, and queries.
        llm: The language model; None for none.
        engine: Runs all programs, in batches over all requests.
        database: The service's own records.
        library: The collections.
    """

    settings: Settings
    embedder: Embedder
    llm: LLM | None
    engine: AsyncEngine
    database: Database
    library: Library


@asynccontextmanager
async def opened(
    settings: Settings, sources: Sequence[Path], embedder: Embedder, llm: LLM | None
) -> AsyncIterator[Service]:
    """Open a service, and close it in the end.

    Args:
        settings: How it is run.
        sources: Collections to serve beside those of its folder, and folders of documents to
            follow, each under its own name.
        embedder: Embeds new collections, and queries.
        llm: The language model; None for none.

    Raises:
        CollectionError: A collection cannot be opened.
        InputError: A source is neither a collection nor a folder.
    """
    database = Database(settings.data / "service.sqlite")
    library = Library(
        database, settings.data / "collections", embedder, read_only=settings.read_only
    )
    try:
        library.open()
        for source in sources:
            _add(library, source)
        yield Service(settings, embedder, llm, AsyncEngine(), database, library)
    finally:
        library.close()


def _add(library: Library, source: Path) -> None:
    path = source.resolve()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name).strip("-_") or "documents"
    if not path.is_dir():
        raise InputError(f"{source} is neither a collection nor a folder of documents")
    if (path / MANIFEST_NAME).exists():
        library.add(name, path)
    elif name not in library:
        library.create(name, path)
    elif library[name].folder != path:
        raise InputError(
            f"{source}: there is a collection '{name}' already, of "
            f"{library[name].folder or 'documents that were uploaded'}; rename the folder, or give "
            "another --data"
        )

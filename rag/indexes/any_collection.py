"""What every collection can do, wherever it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

from rag.core.documents import Document, Passage
from rag.core.filters import Where
from rag.core.hits import Hit
from rag.core.progress import Progress, silent
from rag.core.protocols import Embedder
from rag.indexes.collection import Collection
from rag.indexes.indexing import AddReport, Embedded
from rag.indexes.manifest import Manifest
from rag.indexes.milvus.location import SCHEME
from rag.indexes.readable_collection import CollectionInfo
from rag.indexes.records import VectorDtype
from rag.indexes.snapshot import DocumentInfo
from rag.indexes.vectors import Codes, Kind
from rag.indexes.verify import VerifyReport

Location = str | Path
"""A directory, or 'milvus:URI#NAME'."""


class AnyCollection(Protocol):
    """Documents that can be searched; `Collection` says what the methods do.

    `rag.testing.collection_conformance` is the suite that every implementation passes.
    """

    @property
    def path(self) -> Location:
        """The directory, or the location on Milvus."""

    @property
    def manifest(self) -> Manifest:
        """What it was built with."""

    @property
    def embedder(self) -> Embedder:
        """The embedder; loaded at first use where none was given."""

    def close(self) -> None:
        """Close it; a second time does nothing."""

    def __enter__(self) -> Self:
        """Return the collection itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def add(self, documents: Iterable[Document], *, progress: Progress = silent) -> AddReport:
        """Add documents, or replace those of the same id that have changed."""

    def add_batches(
        self, documents: Iterable[Document], *, progress: Progress = silent
    ) -> Iterator[AddReport]:
        """Add documents, and say of each batch what was done once it is stored."""

    def add_embedded(
        self, contents: Iterable[Embedded], *, progress: Progress = silent
    ) -> AddReport:
        """Add documents that are split and embedded already."""

    def remove(self, document_ids: Iterable[str] = (), *, where: Where | None = None) -> int:
        """Remove documents, by id or by filter, and return how many were removed."""

    def search_dense(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the passages whose vectors are nearest to each query's, best first."""

    def search_lexical(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the passages that share words with each query, best first by BM25."""

    def search_fused(
        self,
        queries: Sequence[str],
        top_k: int,
        where: Where | None = None,
        *,
        candidates: int,
        fusion: Callable[[Sequence[Sequence[Hit]]], list[Hit]],
    ) -> list[list[Hit]]:
        """Return the best of both ways to search, best first."""

    def document(self, document_id: str) -> Document:
        """Return a document; `InputError` where there is none of that id."""

    def documents(self, where: Where | None = None) -> Iterator[DocumentInfo]:
        """Yield the documents that match a filter, in the order in which they were added."""

    def document_page(self, limit: int, after: int = 0) -> tuple[list[DocumentInfo], int | None]:
        """Return some of the documents, and where those that follow begin."""

    def passages(self) -> Iterator[Passage]:
        """Yield all passages, in the order in which they were added."""

    def info(self) -> CollectionInfo:
        """Return what is in the collection."""

    def compact(self) -> None:
        """Give back the room of what was removed."""

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check the collection against itself."""

    def export(self, folder: str | Path) -> None:
        """Write the collection to Parquet files."""


def on_milvus(location: Location) -> bool:
    """Whether a location is one on Milvus."""
    return str(location).startswith(SCHEME)


def open_collection(
    location: Location,
    embedder: Embedder | None = None,
    *,
    writable: bool = False,
    device: str = "auto",
) -> AnyCollection:
    """Open a collection, wherever it is kept.

    Args:
        location: A directory, or 'milvus:URI#NAME'.
        embedder: The embedder it was built with; None loads it by name when it is first needed.
        writable: Whether to add or remove.
        device: Where the vectors of a directory are searched; see `Collection.open`. Milvus
            decides for itself.

    Raises:
        CollectionError: It cannot be opened.
        InputError: That is no location.
        MissingExtra: pymilvus is not installed.
    """
    if on_milvus(location):
        from rag.indexes.milvus.collection import MilvusCollection

        return MilvusCollection.open(str(location), embedder, writable=writable)
    return Collection.open(location, embedder, writable=writable, device=device)


def create_collection(
    location: Location,
    embedder: Embedder,
    *,
    index: Kind = "flat",
    codes: Codes = "float32",
    passage_tokens: int | None = None,
    overlap: int | None = None,
    vector_dtype: VectorDtype = "float16",
) -> AnyCollection:
    """Create an empty collection and open it for writing; see `Collection.create`.

    Raises:
        CollectionError: It cannot be created.
        InputError: An argument cannot be used.
        MissingExtra: pymilvus is not installed.
    """
    create: Callable[..., AnyCollection] = Collection.create
    if on_milvus(location):
        from rag.indexes.milvus.collection import MilvusCollection

        create = MilvusCollection.create
    return create(
        location,
        embedder,
        index=index,
        codes=codes,
        passage_tokens=passage_tokens,
        overlap=overlap,
        vector_dtype=vector_dtype,
    )


def import_collection(folder: str | Path, location: Location) -> AnyCollection:
    """Make a collection from what `export` wrote, without embedding; see `Collection.import_`.

    Raises:
        CollectionError: It cannot be created.
        DataError: The export is damaged or incomplete.
        MissingExtra: pymilvus or pyarrow is not installed.
    """
    if on_milvus(location):
        from rag.indexes.milvus.collection import MilvusCollection

        return MilvusCollection.import_(folder, str(location))
    return Collection.import_(folder, location)

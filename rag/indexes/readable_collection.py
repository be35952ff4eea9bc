"""Reading a collection: searches, documents, passages, what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from rag.core.documents import Document, Passage
from rag.core.errors import InputError
from rag.core.filters import Where, parse_where
from rag.core.hits import Hit
from rag.core.protocols import Embedder, Vectors
from rag.indexes.derived_lexical import DerivedLexical
from rag.indexes.derived_vectors import DerivedVectors
from rag.indexes.manifest import Manifest
from rag.indexes.placement import Placement, place
from rag.indexes.rescoring import nearest
from rag.indexes.search import (
    FilterCache,
    checked_condition,
    read_fused,
    read_hits,
    unread_hits,
)
from rag.indexes.snapshot import DocumentInfo, Snapshot
from rag.indexes.store import Store
from rag.indexes.vectors import IntArray, VectorHits, VectorIndex

_PORTION = 1024
"""Passages held at a time when all are read."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is in a collection.

    Args:
        path: Its directory.
        documents: How many documents it holds.
        passages: How many passages they are split into.
        vectors: How many different texts are embedded.
        generation: How many transactions made it what it is.
        store_bytes: Size of the store on disk.
        vector_bytes: Size of the saved vector index.
        lexical_bytes: Size of the lexical index.
        manifest: What it was built with.
        placement: Where a vector index of its size is searched now, and why.
    """

    path: str
    documents: int
    passages: int
    vectors: int
    generation: int
    store_bytes: int
    vector_bytes: int
    lexical_bytes: int
    manifest: Manifest
    placement: Placement


class ReadableCollection:
    """What can be read of a collection; threads can share it.

    Args:
        path: The directory.
        manifest: What the collection was built with.
        store: Its store.
        embedder: Its embedder; None loads it by name when it is first needed.
        device: Where vectors are searched.

    Attributes:
        path: The directory.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        store: Store,
        embedder: Embedder | None,
        device: str,
    ) -> None:
        self.path = path
        self._device = device
        self._store = store
        self._vectors = DerivedVectors(path, store, manifest, device)
        self._lexical = DerivedLexical(path, store)
        self._embedder = embedder
        self._loading = Lock()
        self._filters = FilterCache()

    @property
    def manifest(self) -> Manifest:
        """What the collection was built with."""
        return self._vectors.manifest

    @property
    def embedder(self) -> Embedder:
        """The embedder; loaded at first use where none was given.

        Raises:
            ModelNotFound: It is not at hand.
            ManifestMismatch: What goes by its name now is another one.
        """
        with self._loading:
            if self._embedder is None:
                self._embedder = self.manifest.load_embedder(self.path)
            return self._embedder

    def search_dense(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the passages whose vectors are nearest to each query's, best first.

        Args:
            queries: The queries.
            top_k: Hits for a query; fewer only if fewer passages match.
            where: A filter on the documents' metadata.

        Raises:
            InputError: A query cannot be embedded, `top_k` is below 1, or `where` is malformed.
            StorageError: The disk refused.
        """
        condition = checked_condition(top_k, where)
        if not queries:
            return []
        vectors = self.embedder.embed_queries(queries)
        with self._vectors.current() as (index, snapshot):
            allowed = self._filters.ids(snapshot, condition)
            found = self._nearest(index, snapshot, vectors, top_k, allowed)
            return read_hits("dense", found, snapshot)

    def search_lexical(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the passages that share words with each query, best first by BM25.

        Args:
            queries: The queries.
            top_k: Hits for a query; fewer only if fewer passages match.
            where: A filter on the documents' metadata.

        Raises:
            InputError: `top_k` is below 1, or `where` is malformed.
            StorageError: The disk refused.
        """
        condition = checked_condition(top_k, where)
        with self._lexical.current() as (index, snapshot):
            allowed = self._filters.ids(snapshot, condition)
            return read_hits("lexical", index.search(queries, top_k, allowed), snapshot)

    def search_fused(
        self,
        queries: Sequence[str],
        top_k: int,
        where: Where | None = None,
        *,
        candidates: int,
        fusion: Callable[[Sequence[Sequence[Hit]]], list[Hit]],
    ) -> list[list[Hit]]:
        """Return the best of both ways to search, best first.

        Args:
            queries: The queries.
            top_k: Hits for a query.
            where: A filter on the documents' metadata.
            candidates: Hits of each way that are fused.
            fusion: Makes one ranking of the dense and the lexical one of a query, in that order, by
                scores, ranks and ids: only passages that come out of it in time are read.

        Raises:
            InputError: A query cannot be embedded, `top_k` is below 1, or `where` is malformed.
            StorageError: The disk refused.
        """
        condition = checked_condition(top_k, where)
        if not queries:
            return []
        vectors = self.embedder.embed_queries(queries)
        with self._vectors.current() as (near, first), self._lexical.current() as (words, second):
            rankings = zip(
                unread_hits(
                    "dense",
                    self._nearest(
                        near, first, vectors, candidates, self._filters.ids(first, condition)
                    ),
                ),
                unread_hits(
                    "lexical",
                    words.search(queries, candidates, self._filters.ids(second, condition)),
                ),
                strict=True,
            )
            fused = [fusion(each)[:top_k] for each in rankings]
            return read_fused(fused, {"dense": first, "lexical": second})

    def document(self, document_id: str) -> Document:
        """Return a document.

        Raises:
            InputError: There is none of that id.
        """
        with self._store.read() as snapshot:
            document = snapshot.document(document_id)
        if document is None:
            raise InputError(f"{self.path} holds no document {document_id!r}")
        return document

    def content_hashes(self) -> npt.NDArray[np.bytes_]:
        """Return a hash of each document with all that belongs to it, sorted."""
        with self._store.read() as snapshot:
            return snapshot.all_content_hashes()

    def documents(self, where: Where | None = None) -> Iterator[DocumentInfo]:
        """Yield the documents that match a filter, in the order in which they were added."""
        condition = None if where is None else parse_where(where)
        with self._store.read() as snapshot:
            yield from snapshot.documents(condition)

    def document_page(self, limit: int, after: int = 0) -> tuple[list[DocumentInfo], int | None]:
        """Return some of the documents, in the order in which they were added.

        Args:
            limit: How many at most.
            after: Where to go on; 0 begins with the first.

        Returns:
            The documents, and where those that follow begin; None after the last.
        """
        with self._store.read() as snapshot:
            return snapshot.document_page(limit, after)

    def passages(self) -> Iterator[Passage]:
        """Yield all passages, in the order in which they were added.

        They are read in portions, each as it is when its turn comes: the loop may take hours.
        """
        with self._store.read() as snapshot:
            ids = snapshot.ids().tolist()
        for start in range(0, len(ids), _PORTION):
            with self._store.read() as snapshot:
                found = snapshot.passages(ids[start : start + _PORTION])
            yield from found.values()

    def info(self) -> CollectionInfo:
        """Return what is in the collection; needs no embedder.

        Raises:
            InputError: There is no device of the name that the collection was opened with.
            Unsupported: It was opened for a GPU that cannot be had.
        """
        with self._store.read() as snapshot:
            counts = snapshot.counts()
        shape = self.manifest.embedder.dimension, self.manifest.index, self.manifest.codes
        return CollectionInfo(
            path=str(self.path),
            **counts._asdict(),
            generation=snapshot.generation,
            store_bytes=self._store.bytes_on_disk(),
            vector_bytes=self._vectors.bytes_on_disk(),
            lexical_bytes=self._lexical.bytes_on_disk(),
            manifest=self.manifest,
            placement=place(counts.passages, *shape, self._device),
        )

    def _nearest(
        self,
        index: VectorIndex,
        snapshot: Snapshot,
        queries: Vectors,
        top_k: int,
        allowed: IntArray | None,
    ) -> list[VectorHits]:
        tuned = self.manifest.tuned_for(index.description)
        oversampling = None if tuned is None else tuned.oversampling
        return nearest(index, snapshot, queries, top_k, allowed, oversampling=oversampling)

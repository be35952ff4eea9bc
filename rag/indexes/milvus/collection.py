"""A collection on a Milvus server, or on Milvus Lite in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock, RLock
from typing import Self

from rag.core.documents import Document, Passage
from rag.core.errors import InputError, ReadOnly
from rag.core.filters import Condition, Where, parse_where
from rag.core.hits import Hit
from rag.core.progress import Progress, silent
from rag.core.protocols import Embedder
from rag.indexes.analysis import query_words
from rag.indexes.indexing import AddReport, Embedded, batches, embedded_batches
from rag.indexes.manifest import Manifest
from rag.indexes.milvus.filter import compile_where
from rag.indexes.milvus.indexing import index_batch, store_embedded
from rag.indexes.milvus.location import MilvusLocation
from rag.indexes.milvus.reader import EVERYTHING, StoredDocument
from rag.indexes.milvus.rows import PASSAGE_FIELDS, Row, passage_of
from rag.indexes.milvus.schema import DOCUMENTS, PASSAGES
from rag.indexes.milvus.store import MilvusStore
from rag.indexes.milvus.verify import verify
from rag.indexes.placement import Placement
from rag.indexes.readable_collection import CollectionInfo
from rag.indexes.records import VectorDtype
from rag.indexes.search import checked_condition
from rag.indexes.snapshot import DocumentInfo
from rag.indexes.transfer import Export, write_export
from rag.indexes.vectors import Codes, Kind
from rag.indexes.verify import VerifyReport
from rag.text.splitting import Splitter

_PORTION = 1_024


class MilvusCollection:
    """Documents on Milvus, searchable by meaning and by words as those of a `Collection`.

    A search sees what was written before it. There are no transactions, though: while a document
    is replaced, its old and its new passages may both be found, and what a kill interrupts is
    mended when the same change is made again, or by `verify(repair=True)`. Nothing keeps a second
    process from writing at the same time. `create` and `open` make one; use it in a `with`
    statement, or `close` it.

    Attributes:
        path: The location, 'milvus:URI#NAME'.
        manifest: What the collection was built with.
    """

    def __init__(
        self,
        location: MilvusLocation,
        store: MilvusStore,
        embedder: Embedder | None,
        *,
        writable: bool,
    ) -> None:
        self.path = str(location)
        self.manifest = store.manifest
        self._store = store
        self._embedder = embedder
        self._loading = Lock()
        self._writable = writable
        self._writing = RLock()

    @classmethod
    def create(
        cls,
        location: str,
        embedder: Embedder,
        *,
        index: Kind = "flat",
        codes: Codes = "float32",
        passage_tokens: int | None = None,
        overlap: int | None = None,
        vector_dtype: VectorDtype = "float16",
    ) -> Self:
        """Create an empty collection and open it for writing; see `Collection.create`.

        Args:
            location: 'milvus:http://HOST:PORT#NAME', or 'milvus:FOLDER/FILE.db#NAME' for Milvus
                Lite. The environment variable MILVUS_TOKEN holds a server's token.
            embedder: Embeds passages and queries.
            index: Kind of the vector index: FLAT, HNSW or IVF of Milvus.
            codes: How the vector index holds vectors; what Milvus lacks is held more exactly.
            passage_tokens: Longest passage, in the embedder's tokens.
            overlap: Most tokens that a passage repeats of the one before it.
            vector_dtype: What vectors are rounded to; Milvus holds float32.

        Raises:
            CollectionExists: There is one already.
            InputError: An argument cannot be used.
            MissingExtra: pymilvus is not installed.
            StorageError: Milvus refused or did not answer.
        """
        place = MilvusLocation.parse(location)
        manifest = Manifest.of(
            embedder,
            index=index,
            codes=codes,
            passage_tokens=passage_tokens,
            overlap=overlap,
            vector_dtype=vector_dtype,
        )
        return cls(place, MilvusStore.create(place, manifest), embedder, writable=True)

    @classmethod
    def open(
        cls, location: str, embedder: Embedder | None = None, *, writable: bool = False
    ) -> Self:
        """Open a collection; see `Collection.open`.

        Raises:
            CollectionNotFound: There is none.
            CollectionCorrupt: This version cannot use its manifest.
            InputError: That is no location.
            ManifestMismatch: It was built with another embedder.
            MissingExtra: pymilvus is not installed.
            StorageError: Milvus refused or did not answer.
        """
        place = MilvusLocation.parse(location)
        store = MilvusStore.open(place)
        try:
            if embedder is not None:
                store.manifest.check(location, embedder)
        except BaseException:
            store.close()
            raise
        return cls(place, store, embedder, writable=writable)

    @classmethod
    def import_(cls, folder: str | Path, location: str) -> Self:
        """Make a collection from what `export` wrote, without embedding; see `Collection.import_`.

        Raises:
            CollectionExists: There is a collection at the location.
            DataError: The export is damaged or incomplete; there is no collection afterwards.
            InputError: Something in it is too long for Milvus; there is no collection afterwards.
            MissingExtra: pymilvus or pyarrow is not installed.
            StorageError: Milvus refused or did not answer.
        """
        place = MilvusLocation.parse(location)
        export = Export.read(Path(folder))

        def fill(store: MilvusStore) -> None:
            for batch in embedded_batches(export.contents(Path(folder))):
                store_embedded(store, batch)

        # What was tuned is an index of FAISS.
        manifest = export.manifest.model_copy(update={"tuned": None})
        return cls(place, MilvusStore.create(place, manifest, fill), None, writable=True)

    def close(self) -> None:
        """Close it; a second time does nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        """Return the collection itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

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

    def add(self, documents: Iterable[Document], *, progress: Progress = silent) -> AddReport:
        """Add documents, or replace those of the same id that have changed; see `Collection.add`.

        Raises:
            InputError: A document cannot be stored or embedded; its batch is not written.
            ReadOnly: The collection is open for reading only.
            StorageError: Milvus refused; adding the same documents again goes on from there.
        """
        return sum(self.add_batches(documents, progress=progress), AddReport())

    def add_batches(
        self, documents: Iterable[Document], *, progress: Progress = silent
    ) -> Iterator[AddReport]:
        """Add documents as `add` does, and say of each batch what was done once it is written."""
        done = 0
        with self._changing():
            splitter = Splitter.of_embedder(
                self.embedder, self.manifest.passage_tokens, self.manifest.overlap
            )
        for batch in batches(documents):
            with self._changing():
                report = index_batch(self._store, self.embedder, splitter, batch, progress)
            yield report
            done += len(batch)
            progress("documents", done, None)

    def add_embedded(
        self, contents: Iterable[Embedded], *, progress: Progress = silent
    ) -> AddReport:
        """Add documents that are split and embedded already; see `Collection.add_embedded`."""
        total, done = AddReport(), 0
        for batch in embedded_batches(contents):
            with self._changing():
                total += store_embedded(self._store, batch)
            done += len(batch)
            progress("documents", done, None)
        return total

    def remove(self, document_ids: Iterable[str] = (), *, where: Where | None = None) -> int:
        """Remove documents, by id or by filter, and return how many were removed.

        Raises:
            FilterError: `where` is malformed.
            ReadOnly: The collection is open for reading only.
            StorageError: Milvus refused; the same call again removes the rest.
        """
        matching = None if where is None else compile_where(parse_where(where))
        with self._changing():
            removed = self._store.remove(list(document_ids))
            if matching is not None:
                removed += self._store.remove_matching(matching)
        return removed

    def search_dense(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the passages whose vectors are nearest to each query's, best first."""
        return self._read_hits("dense", queries, top_k, checked_condition(top_k, where))

    def search_lexical(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the passages that share words with each query, best first by BM25."""
        return self._read_hits("lexical", queries, top_k, checked_condition(top_k, where))

    def search_fused(
        self,
        queries: Sequence[str],
        top_k: int,
        where: Where | None = None,
        *,
        candidates: int,
        fusion: Callable[[Sequence[Sequence[Hit]]], list[Hit]],
    ) -> list[list[Hit]]:
        """Return the best of both ways to search, best first; see `Collection.search_fused`."""
        condition = checked_condition(top_k, where)
        rankings = zip(
            self._search("dense", queries, candidates, condition, ("number",), _unread),
            self._search("lexical", queries, candidates, condition, ("number",), _unread),
            strict=True,
        )
        fused = [fusion(each)[:top_k] for each in rankings]
        numbers = {int(hit.passage.id) for hits in fused for hit in hits}
        passages = self._store.passages_of(numbers)
        # What was removed since the search is left out.
        return [
            [
                replace(hit, passage=passages[int(hit.passage.id)])
                for hit in hits
                if int(hit.passage.id) in passages
            ]
            for hits in fused
        ]

    def document(self, document_id: str) -> Document:
        """Return a document.

        Raises:
            InputError: There is none of that id.
        """
        document = self._store.document(document_id)
        if document is None:
            raise InputError(f"{self.path} holds no document {document_id!r}")
        return document

    def documents(self, where: Where | None = None) -> Iterator[DocumentInfo]:
        """Yield the documents that match a filter, in the order in which they were added."""
        matching = EVERYTHING if where is None else compile_where(parse_where(where))
        for portion in self._store.infos(matching, _PORTION):
            for _, info in portion:
                yield info

    def document_page(self, limit: int, after: int = 0) -> tuple[list[DocumentInfo], int | None]:
        """Return some of the documents in the order in which they were added.

        Args:
            limit: How many at most.
            after: Where to go on; 0 begins with the first.

        Returns:
            The documents, and where those that follow begin; None after the last.
        """
        found = next(self._store.infos(f"number > {after}", limit + 1), [])
        page = [info for _, info in found[:limit]]
        return page, found[limit - 1][0] if len(found) > limit else None

    def passages(self) -> Iterator[Passage]:
        """Yield all passages, in the order in which they were added."""
        return self._store.passages()

    def info(self) -> CollectionInfo:
        """Return what is in the collection; needs no embedder.

        The generation is the time of the last change, in microseconds since 1970. Milvus does not
        say how large its files are, and has a vector for each passage.
        """
        passages = self._store.count(PASSAGES)
        return CollectionInfo(
            path=self.path,
            documents=self._store.count(DOCUMENTS),
            passages=passages,
            vectors=passages,
            generation=self._store.changed,
            store_bytes=0,
            vector_bytes=0,
            lexical_bytes=0,
            manifest=self.manifest,
            placement=Placement("milvus", "the server decides"),
        )

    def compact(self) -> None:
        """Remove what interrupted changes left behind, and have Milvus give back the room.

        Raises:
            ReadOnly: The collection is open for reading only.
            StorageError: Milvus refused.
        """
        with self._changing():
            verify(self._store, repair=True)
            self._store.compact()

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Compare documents with their passages, and find what interrupted changes left behind.

        Args:
            repair: Whether to remove that; needs the collection writable.

        Raises:
            ReadOnly: The collection is open for reading only.
            StorageError: Milvus refused.
        """
        with self._changing() if repair else nullcontext():
            return verify(self._store, repair=repair)

    def export(self, folder: str | Path) -> None:
        """Write the collection to Parquet files; see `rag.indexes.transfer`.

        Args:
            folder: A directory that does not exist or is empty.

        Raises:
            CollectionError: The folder holds something.
            MissingExtra: pyarrow is not installed.
            StorageError: Milvus or the disk refused.
        """
        write_export(map(self._encoded, self._store.contents()), self.manifest, Path(folder))

    def _encoded(self, stored: StoredDocument) -> tuple[Document, list[Passage], list[bytes]]:
        vectors = self.manifest.codec.encode(stored.vectors)
        return stored.document, stored.passages, vectors

    def _read_hits(
        self, part: str, queries: Sequence[str], top_k: int, condition: Condition | None
    ) -> list[list[Hit]]:
        return self._search(part, queries, top_k, condition, PASSAGE_FIELDS, passage_of)

    def _search(
        self,
        part: str,
        queries: Sequence[str],
        top_k: int,
        condition: Condition | None,
        fields: tuple[str, ...],
        read: Callable[[Row], Passage],
    ) -> list[list[Hit]]:
        """Return the hits of one way to search, with as much of their passages as `read` makes."""
        if not queries:
            return []
        expression = None if condition is None else compile_where(condition)
        if part == "dense":
            vectors = list(self.embedder.embed_queries(queries))
            found = self._store.search("vector", vectors, top_k, expression, fields)
        else:
            words = [" ".join(query_words(query)) for query in queries]
            found = self._store.search("bm25", words, top_k, expression, fields)
        return [
            [
                Hit(read(row), score, {part: score}, {part: rank})
                for rank, (row, score) in enumerate(hits, start=1)
            ]
            for hits in found
        ]

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one thread at a time change the collection."""
        if not self._writable:
            raise ReadOnly(self.path, "was opened for reading; open it writable")
        with self._writing:
            yield


def _unread(row: Row) -> Passage:
    """Return a passage that has its number for an id, and nothing else."""
    return Passage(str(row["number"]), "", "", 0, 0)

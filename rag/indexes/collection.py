"""The collection: documents, and the two ways of searching their passages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, RLock
from typing import Self, get_args

from rag.core.documents import Document, Passage
from rag.core.errors import (
    InputError,
    ReadOnly,
)
from rag.core.filters import Condition, Where, parse_where
from rag.core.hits import Hit
from rag.core.progress import Progress, silent
from rag.core.protocols import Embedder
from rag.indexes.derived_lexical import DerivedLexical
from rag.indexes.derived_vectors import DerivedVectors
from rag.indexes.indexing import AddReport, batches, index_batch
from rag.indexes.manifest import EmbedderManifest, Manifest
from rag.indexes.records import VectorDtype
from rag.indexes.search import FilterCache, read_fused, read_hits, unread_hits
from rag.indexes.snapshot import DocumentInfo
from rag.indexes.store import Store
from rag.indexes.transfer import Export, export_snapshot, import_into
from rag.indexes.vectors import Kind
from rag.indexes.verify import VerifyReport, verify
from rag.indexes.writer_lock import WriterLock, claim
from rag.text.splitting import Splitter

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


class Collection:
    """Documents in a directory, searchable by meaning and by words.

    One process at a time can hold it open for writing, any number for reading; each search sees
    all that was committed before it, by whichever process. Threads can share a collection.
    `create` and `open` make one; use it in a `with` statement, or `close` it.

    Attributes:
        path: The directory.
        manifest: What the collection was built with.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        store: Store,
        embedder: Embedder | None,
        writer: WriterLock | None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._store = store
        self._vectors = DerivedVectors(path, store, manifest)
        self._lexical = DerivedLexical(path, store)
        self._embedder = embedder
        self._loading = Lock()
        self._writer = writer
        self._writing = RLock()
        self._filters = FilterCache()

    @classmethod
    def create(
        cls,
        path: str | Path,
        embedder: Embedder,
        *,
        index: Kind = "flat",
        passage_tokens: int | None = None,
        overlap: int | None = None,
        vector_dtype: VectorDtype = "float16",
    ) -> Self:
        """Create an empty collection and open it for writing.

        Args:
            path: A directory that does not exist or is empty.
            embedder: Embeds passages and queries.
            index: Kind of the vector index.
            passage_tokens: Longest passage, in the embedder's tokens; None means as long as the
                embedder reads.
            overlap: Most tokens that a passage repeats of the one before it; None means a
                sixteenth of a passage.
            vector_dtype: How vectors are stored: half the room, or exactly.

        Raises:
            CollectionExists: There is one already.
            InputError: An argument cannot be used.
            StorageError: The disk refused.
        """
        if index not in get_args(Kind):
            raise InputError(f"no index '{index}'; there are {', '.join(get_args(Kind))}")
        if vector_dtype not in get_args(VectorDtype):
            raise InputError(f"no vector dtype '{vector_dtype}'; give float16 or float32")
        tokens = embedder.max_tokens if passage_tokens is None else passage_tokens
        if tokens > embedder.max_tokens:
            raise InputError(
                f"passages of {tokens} tokens are too long: the embedder reads "
                f"{embedder.max_tokens}"
            )
        manifest = Manifest(
            embedder=EmbedderManifest.of(embedder),
            vector_dtype=vector_dtype,
            index=index,
            passage_tokens=tokens,
            overlap=tokens // 16 if overlap is None else overlap,
        )
        # Sizes that leave no room are refused before anything is written.
        Splitter.of_embedder(embedder, manifest.passage_tokens, manifest.overlap)
        folder = Path(path)
        writer = claim(folder)
        try:
            store = Store.create(folder, manifest.codec)
            # The manifest comes last: with it, the collection exists.
            manifest.write(folder)
        except BaseException:
            writer.release()
            raise
        return cls(folder, manifest, store, embedder, writer)

    @classmethod
    def open(
        cls, path: str | Path, embedder: Embedder | None = None, *, writable: bool = False
    ) -> Self:
        """Open a collection.

        Args:
            path: Its directory.
            embedder: The embedder it was built with; None loads it by name when it is first
                needed.
            writable: Whether to add or remove.

        Raises:
            CollectionNotFound: There is none.
            CollectionCorrupt: It cannot be read.
            CollectionLocked: Another process writes it.
            ManifestMismatch: It was built with another embedder.
            StorageError: The disk refused.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        if embedder is not None:
            manifest.check(folder, embedder)
        writer = WriterLock(folder) if writable else None
        if writer is not None:
            writer.acquire()
        try:
            store = Store(folder, manifest.codec)
            collection = cls(folder, manifest, store, embedder, writer)
            if writable:
                # Before the store moves on, so that what is ahead of it can be told.
                collection._vectors.discard_newer()
                collection._lexical.catch_up()
        except BaseException:
            if writer is not None:
                writer.release()
            raise
        return collection

    def close(self) -> None:
        """Close it; a second time does nothing."""
        self._vectors.close()
        self._lexical.close()
        self._store.close()
        if self._writer is not None:
            self._writer.release()

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
                from rag.models.registry import load_embedder

                built_with = self.manifest.embedder
                embedder = load_embedder(
                    built_with.name,
                    query_prefix=built_with.query_prefix,
                    passage_prefix=built_with.passage_prefix,
                )
                self.manifest.check(self.path, embedder)
                self._embedder = embedder
            return self._embedder

    def add(self, documents: Iterable[Document], *, progress: Progress = silent) -> AddReport:
        """Add documents, or replace those of the same id that have changed.

        Documents are read and committed in batches; what is committed stays, however the call
        ends. A document and its passages change in one step. A text that was embedded before is
        not embedded again. Between two batches, other threads may change the collection.

        Args:
            documents: The documents; read once, never all held.
            progress: Told of the documents that are committed, as the stage 'documents', and by
                the embedder of its work on each batch.

        Raises:
            InputError: A document cannot be stored or embedded; its batch is not committed.
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        return sum(self.add_batches(documents, progress=progress), AddReport())

    def add_batches(
        self, documents: Iterable[Document], *, progress: Progress = silent
    ) -> Iterator[AddReport]:
        """Add documents as `add` does, and say of each batch what was done once it is committed.

        Raises:
            InputError: A document cannot be stored or embedded; its batch is not committed.
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        done = 0
        with self._changing():
            splitter = Splitter.of_embedder(
                self.embedder, self.manifest.passage_tokens, self.manifest.overlap
            )
        for batch in batches(documents):
            with self._changing():
                report = index_batch(self._store, self.embedder, splitter, batch, progress)
                self._lexical.catch_up()
            yield report
            done += len(batch)
            progress("documents", done, None)
        with self._changing():
            self._vectors.save()

    def remove(self, document_ids: Iterable[str] = (), *, where: Where | None = None) -> int:
        """Remove documents, by id or by filter, in one step.

        Args:
            document_ids: Ids; those that are not in the collection are passed over.
            where: A filter on metadata; the documents that match are removed too.

        Returns:
            How many documents were removed.

        Raises:
            FilterError: `where` is malformed.
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        condition = None if where is None else parse_where(where)
        with self._changing():
            with self._store.write() as transaction:
                removed = transaction.remove_documents(document_ids)
                if condition is not None:
                    removed += transaction.remove_matching(condition)
            self._lexical.catch_up()
            self._vectors.save()
        return removed

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
        condition = _checked(top_k, where)
        if not queries:
            return []
        vectors = self.embedder.embed_queries(queries)
        with self._vectors.current() as (index, snapshot):
            allowed = self._filters.ids(snapshot, condition)
            return read_hits("dense", index.search(vectors, top_k, allowed), snapshot)

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
        condition = _checked(top_k, where)
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
        condition = _checked(top_k, where)
        if not queries:
            return []
        vectors = self.embedder.embed_queries(queries)
        with self._vectors.current() as (near, first), self._lexical.current() as (words, second):
            rankings = zip(
                unread_hits(
                    "dense", near.search(vectors, candidates, self._filters.ids(first, condition))
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
        """Return what is in the collection; needs no embedder."""
        with self._store.read() as snapshot:
            counts = snapshot.counts()
        return CollectionInfo(
            path=str(self.path),
            **counts._asdict(),
            generation=snapshot.generation,
            store_bytes=self._store.bytes_on_disk(),
            vector_bytes=self._vectors.bytes_on_disk(),
            lexical_bytes=self._lexical.bytes_on_disk(),
            manifest=self.manifest,
        )

    def compact(self) -> None:
        """Give back the room of what was removed, and build both indexes anew.

        Raises:
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        with self._changing():
            with self._store.write() as transaction:
                transaction.prune()
            self._store.vacuum()
            self._lexical.rebuild()
            self._vectors.rebuild()
            self._vectors.save()

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check the store, and that both indexes hold exactly its passages.

        Args:
            repair: Whether to build an index anew that does not; needs the collection writable.

        Raises:
            MissingExtra: FAISS is not installed.
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        with self._changing() if repair else nullcontext():
            return verify(self._store, self._vectors, self._lexical, repair=repair)

    def export(self, folder: str | Path) -> None:
        """Write the collection to Parquet files; see `rag.indexes.transfer`.

        Args:
            folder: A directory that does not exist or is empty.

        Raises:
            CollectionError: The folder holds something.
            MissingExtra: pyarrow is not installed.
            StorageError: The disk refused.
        """
        with self._store.read() as snapshot:
            export_snapshot(snapshot, self.manifest, Path(folder))

    @classmethod
    def import_(cls, folder: str | Path, path: str | Path) -> Self:
        """Make a collection from what `export` wrote, without embedding, and open it for writing.

        Args:
            folder: What `export` wrote.
            path: A directory that does not exist or is empty.

        Raises:
            CollectionExists: There is a collection at `path`.
            DataError: The export is damaged or incomplete; there is no collection afterwards.
            MissingExtra: pyarrow is not installed.
            StorageError: The disk refused.
        """
        target = Path(path)
        export = Export.read(Path(folder))
        writer = claim(target)
        try:
            store = Store.create(target, export.manifest.codec)
            import_into(store, export, Path(folder))
            export.manifest.write(target)
        except BaseException:
            writer.release()
            raise
        return cls(target, export.manifest, store, None, writer)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one thread at a time change the collection."""
        if self._writer is None:
            raise ReadOnly(str(self.path), "was opened for reading; open it writable")
        with self._writing:
            yield


def _checked(top_k: int, where: Where | None) -> Condition | None:
    if top_k < 1:
        raise InputError(f"top_k is {top_k}; ask for 1 hit or more")
    return parse_where(where) if where else None

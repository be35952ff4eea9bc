"""The collection: documents, and the two ways of searching their passages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import Self

from rag.core.documents import Document
from rag.core.errors import (
    ReadOnly,
)
from rag.core.filters import Where, parse_where
from rag.core.progress import Progress, silent
from rag.core.protocols import Embedder
from rag.indexes.indexing import (
    AddReport,
    Embedded,
    batches,
    embedded_batches,
    index_batch,
    store_embedded,
)
from rag.indexes.manifest import Manifest, TunedIndex
from rag.indexes.readable_collection import ReadableCollection
from rag.indexes.records import VectorDtype
from rag.indexes.store import Store
from rag.indexes.transfer import Export, export_snapshot
from rag.indexes.tuning import retune, tune
from rag.indexes.vectors import Codes, Kind
from rag.indexes.verify import VerifyReport, verify
from rag.indexes.writer_lock import WriterLock, claim
from rag.text.splitting import Splitter


class Collection(ReadableCollection):
    """Documents in a directory, searchable by meaning and by words.

    One process at a time can hold it open for writing, any number for reading; each search sees
    all that was committed before it, by whichever process. Threads can share a collection.
    `create` and `open` make one; use it in a `with` statement, or `close` it.

    Attributes:
        path: The directory.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        store: Store,
        embedder: Embedder | None,
        writer: WriterLock | None,
        device: str = "auto",
    ) -> None:
        super().__init__(path, manifest, store, embedder, device)
        self._writer = writer
        self._writing = RLock()

    @classmethod
    def create(
        cls,
        path: str | Path,
        embedder: Embedder,
        *,
        index: Kind = "flat",
        codes: Codes = "float32",
        passage_tokens: int | None = None,
        overlap: int | None = None,
        vector_dtype: VectorDtype = "float16",
    ) -> Self:
        """Create an empty collection and open it for writing.

        Args:
            path: A directory that does not exist or is empty.
            embedder: Embeds passages and queries.
            index: Kind of the vector index.
            codes: How the vector index holds vectors; see `create_index`.
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
        manifest = Manifest.of(
            embedder,
            index=index,
            codes=codes,
            passage_tokens=passage_tokens,
            overlap=overlap,
            vector_dtype=vector_dtype,
        )
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
        cls,
        path: str | Path,
        embedder: Embedder | None = None,
        *,
        writable: bool = False,
        device: str = "auto",
    ) -> Self:
        """Open a collection.

        Args:
            path: Its directory.
            embedder: The embedder it was built with; None loads it by name when it is first
                needed.
            writable: Whether to add or remove.
            device: Where vectors are searched: 'cpu', 'cuda' (all GPUs), 'cuda:N', or 'auto',
                which decides by size and free memory.

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
            collection = cls(folder, manifest, store, embedder, writer, device)
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
            self._save_vectors()

    def add_embedded(
        self, contents: Iterable[Embedded], *, progress: Progress = silent
    ) -> AddReport:
        """Add documents that are split and embedded already, as `add` does, in large transactions.

        Args:
            contents: Documents, the passages of each, which this collection's manifest describes,
                and their vectors, of shape (passages, dimension); read once, never all held.
            progress: Told of the documents that are committed, as the stage 'documents'.

        Raises:
            InputError: A document or a vector cannot be stored; its batch is not committed.
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        total, done = AddReport(), 0
        for batch in embedded_batches(contents):
            with self._changing():
                total += store_embedded(self._store, batch)
                self._lexical.catch_up()
            done += len(batch)
            progress("documents", done, None)
        with self._changing():
            self._save_vectors()
        return total

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
            self._save_vectors()
        return removed

    def compact(self) -> None:
        """Give back the room of what was removed, and build both indexes anew.

        Raises:
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        with self._changing():
            # Saved first, so that no reader meanwhile is without an index that it can use.
            self._vectors.renew()
            with self._store.write() as transaction:
                transaction.prune()
            self._store.vacuum()
            self._lexical.rebuild()
            retune(self.path, self._vectors, built_anew=True)

    def tune(
        self,
        recall: float,
        *,
        queries: Sequence[str] | None = None,
        progress: Progress = silent,
    ) -> TunedIndex:
        """Choose how the vector index is searched, so that it finds a stated share of the nearest.

        The cheapest setting is chosen that reaches the recall for one half of the queries with
        95 % confidence, and it is measured with the other half. The queries are kept: `verify`
        measures with them, and the index is tuned again when it is built anew or has grown to
        twice the passages.

        Args:
            recall: The mean share of the true 10 nearest passages that a search is to find.
            queries: What users ask, best some hundreds; None draws 500 sentences of passages.
            progress: Told of each setting that is tried, as the stage 'tuning'.

        Returns:
            The setting, which is in use now, and what it reached.

        Raises:
            InputError: The recall is out of reach, or there are too few queries.
            MissingExtra: FAISS is not installed.
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        with self._changing():
            return tune(self.path, self._vectors, self.embedder, recall, queries, progress)

    def verify(self, *, repair: bool = False) -> VerifyReport:
        """Check the store, that both indexes hold exactly its passages, and the recall asked for.

        Args:
            repair: Whether to build an index anew that does not; needs the collection writable.

        Raises:
            MissingExtra: FAISS is not installed.
            ReadOnly: The collection is open for reading only.
            StorageError: The disk refused.
        """
        with self._changing() if repair else nullcontext():
            return verify(self.path, self._store, self._vectors, self._lexical, repair=repair)

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
            for batch in embedded_batches(export.contents(Path(folder))):
                store_embedded(store, batch)
            # What was tuned is another index.
            manifest = export.manifest.model_copy(update={"tuned": None})
            manifest.write(target)
        except BaseException:
            writer.release()
            raise
        return cls(target, manifest, store, None, writer)

    def _save_vectors(self, *, built_anew: bool = False) -> None:
        self._vectors.save()
        retune(self.path, self._vectors, built_anew=built_anew)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one thread at a time change the collection."""
        if self._writer is None:
            raise ReadOnly(str(self.path), "was opened for reading; open it writable")
        with self._writing:
            yield

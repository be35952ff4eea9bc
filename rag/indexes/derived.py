"""The indexes that are derived from the store, and how they keep in step with it.

Each remembers the generation that it is at. Before a search it is brought to the store's
generation by what was added and removed since, or built anew where it is missing, damaged or too
far behind. So whatever a crash leaves behind, the next search is right.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, TypeVar

from filelock import FileLock, Timeout

from rag.core.errors import CollectionCorrupt, CollectionLocked, MissingExtra, StorageError
from rag.indexes.lexical import LexicalIndex
from rag.indexes.manifest import Manifest
from rag.indexes.rwlock import ReadWriteLock
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store
from rag.indexes.vectors import Kind, VectorIndex, create_index, load_index

_TRAINED = ("ivf", "pq")
_TRAINING_PER_CLUSTER = 64
_SAVED_SHARE = 0.05
"""The saved index is renewed when more than this share of the passages is not in it."""
_PATIENCE = 600.0
"""Seconds to wait while another process builds the lexical index."""

Index = TypeVar("Index")


class Derived(ABC, Generic[Index]):
    """An index that follows the store; threads can share it.

    Args:
        folder: The collection's directory.
        store: The collection's store.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._lock = ReadWriteLock()
        self._index: Index | None = None
        self._generation = -1

    @contextmanager
    def current(self) -> Iterator[tuple[Index, Snapshot]]:
        """Yield the index and the store at one generation; neither moves until the block ends.

        Raises:
            StorageError: The disk refused.
        """
        while True:
            with self._lock.reading(), self._store.read() as snapshot:
                if self._index is not None and self._generation == snapshot.generation:
                    yield self._index, snapshot
                    return
            self.catch_up()

    def catch_up(self) -> None:
        """Bring the index to the store's generation."""
        with self._lock.writing():
            try:
                self._catch_up()
            except BaseException:
                # Whatever was half done is not used; the next search starts from what is saved.
                self._forget()
                raise

    def rebuild(self) -> None:
        """Build the index anew from the store."""
        with self._lock.writing():
            self._forget()
            self._discard()
        self.catch_up()

    def close(self) -> None:
        """Let the index go."""
        with self._lock.writing():
            self._forget()

    def _forget(self) -> None:
        self._index = None
        self._generation = -1

    @abstractmethod
    def _catch_up(self) -> None: ...

    @abstractmethod
    def _discard(self) -> None:
        """Delete what is saved."""


class DerivedVectors(Derived[VectorIndex]):
    """The vector index: in memory, or mapped from a file while the file is all there is to it.

    Args:
        folder: The collection's directory.
        store: The collection's store.
        manifest: The collection's manifest.
    """

    def __init__(self, folder: Path, store: Store, manifest: Manifest) -> None:
        super().__init__(folder, store)
        self._manifest = manifest

    def save(self) -> None:
        """Save the index if what is saved has fallen far behind; the writer calls this.

        Without FAISS nothing is saved, and whoever has it builds the index from the store.
        """
        with self._store.read() as snapshot:
            since = max(self._saved(), default=0)
            change = snapshot.count_added(since) + len(snapshot.removed(since))
            if change <= _SAVED_SHARE * snapshot.counts().passages:
                return
        try:
            with self.current() as (index, snapshot):
                index.save(self._path(snapshot.generation))
                for generation in self._saved():
                    if generation != snapshot.generation:
                        self._path(generation).unlink(missing_ok=True)
        except MissingExtra:
            return

    def bytes_on_disk(self) -> int:
        """Return the size of what is saved."""
        return sum(self._path(generation).stat().st_size for generation in self._saved())

    def _catch_up(self) -> None:
        with self._store.read() as snapshot:
            if self._index is None or self._index.mapped or self._generation < snapshot.pruned:
                self._index = self._load(snapshot)
            index, since = self._index, self._generation
            # Clusters are learnt from the vectors there are, so many more need new ones.
            if index is None or snapshot.count_added(since) > len(index):
                self._index = self._build(snapshot)
            elif not index.mapped:
                index.remove(snapshot.removed(since))
                for ids, vectors in snapshot.added_vectors(since):
                    index.add(ids, vectors)
            self._generation = snapshot.generation

    def _load(self, snapshot: Snapshot) -> VectorIndex | None:
        """Load the newest saved index that can be brought up to date."""
        for generation in sorted(self._saved(), reverse=True):
            if not snapshot.pruned <= generation <= snapshot.generation:
                continue
            changed = snapshot.count_added(generation) + len(snapshot.removed(generation))
            try:
                index = load_index(self._path(generation), mapped=not changed)
            except (CollectionCorrupt, StorageError):
                continue
            if (index.kind, index.dimension) == self._shape:
                self._generation = generation
                return index
        return None

    def _build(self, snapshot: Snapshot) -> VectorIndex:
        kind, dimension = self._shape
        size = snapshot.counts().passages
        training = None
        if kind in _TRAINED and size:
            _, training = snapshot.sample_vectors(int(_TRAINING_PER_CLUSTER * 4 * sqrt(size)))
        elif kind in _TRAINED:
            kind = "flat"
        index = create_index(
            dimension,
            kind=kind,
            metric=self._manifest.metric,
            size_hint=max(1, size),
            training=training,
        )
        del training
        for ids, vectors in snapshot.added_vectors(0):
            index.add(ids, vectors)
        return index

    def _discard(self) -> None:
        for generation in self._saved():
            self._path(generation).unlink(missing_ok=True)

    @property
    def _shape(self) -> tuple[Kind, int]:
        return self._manifest.index, self._manifest.embedder.dimension

    def _path(self, generation: int) -> Path:
        return self._folder / f"vectors-{generation}.faiss"

    def _saved(self) -> list[int]:
        names = (
            path.stem.removeprefix("vectors-") for path in self._folder.glob("vectors-*.faiss")
        )
        return [int(name) for name in names if name.isdecimal()]


class DerivedLexical(Derived[LexicalIndex]):
    """The lexical index: on disk, shared by all processes, brought up to date by any of them.

    Where the directory cannot be written, a private directory of links into it takes its place.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        super().__init__(folder, store)
        self._private: TemporaryDirectory[str] | None = None
        if not os.access(folder, os.W_OK):
            self._private = TemporaryDirectory(prefix="rag-lexical-")
            folder = Path(self._private.name)
            (folder / "lexical").mkdir()
            for file in (self._folder / "lexical").glob("*"):
                (folder / "lexical" / file.name).symlink_to(file.absolute())
        self._path = folder / "lexical"
        self._one_at_a_time = FileLock(folder / "lexical.lock", timeout=_PATIENCE)

    def close(self) -> None:
        """Let the index go."""
        super().close()
        if self._private is not None:
            self._private.cleanup()

    def bytes_on_disk(self) -> int:
        """Return the size of the index's files."""
        return sum(file.stat().st_size for file in self._path.glob("*"))

    def _catch_up(self) -> None:
        if self._index is not None:
            self._index.refresh()
            self._generation = self._index.generation
        with self._store.read() as snapshot:
            if self._index is not None and self._generation == snapshot.generation:
                return
        with self._held():
            # Nobody else moves the index now, so a store read from here on is not behind it.
            self._index = index = self._open()
            with self._store.read() as snapshot:
                if not snapshot.pruned <= index.generation <= snapshot.generation:
                    index.update(
                        add=snapshot.added(0),
                        remove=index.ids().tolist(),
                        generation=snapshot.generation,
                    )
                elif index.generation < snapshot.generation:
                    index.update(
                        add=snapshot.added(index.generation),
                        remove=snapshot.removed(index.generation).tolist(),
                        generation=snapshot.generation,
                    )
            index.close()
            self._generation = index.generation

    def _open(self) -> LexicalIndex:
        if self._index is not None:
            self._index.refresh()
            return self._index
        try:
            return LexicalIndex.open(self._path, writable=True)
        except CollectionCorrupt:
            shutil.rmtree(self._path, ignore_errors=True)
            return LexicalIndex.open(self._path, writable=True)

    def _discard(self) -> None:
        with self._held():
            shutil.rmtree(self._path, ignore_errors=True)

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            self._one_at_a_time.acquire()
        except Timeout as error:
            raise CollectionLocked(
                str(self._path), "another process that builds the lexical index"
            ) from error
        except OSError as error:
            raise StorageError(str(self._path), f"cannot be written: {error}") from error
        try:
            yield
        finally:
            self._one_at_a_time.release()

"""The indexes that are derived from the store, and how they keep in step with it.

Each remembers the generation that it is at. Before a search it is brought to the store's
generation by what was added and removed since, or built anew where it is missing, damaged or too
far behind. So whatever a crash leaves behind, the next search is right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

from rag.indexes.rwlock import ReadWriteLock
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store

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


def size_of(files: Iterable[Path]) -> int:
    """Return the bytes of files, some of which may be deleted meanwhile."""
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total

"""The lexical index of a collection, kept in step with the store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from rag.core.errors import CollectionCorrupt, CollectionLocked, StorageError
from rag.indexes.derived import Derived, size_of
from rag.indexes.lexical import LexicalIndex
from rag.indexes.store import Store

_PATIENCE = 600.0
"""Seconds to wait while another process builds the index."""


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
                if file.suffix != ".lock":
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
        return size_of(self._path.glob("*"))

    def _catch_up(self) -> None:
        if self._index is not None and self._refreshed(self._index):
            with self._store.read() as snapshot:
                self._generation = self._index.generation
                if self._generation == snapshot.generation:
                    return
        with self._held():
            # Nobody else moves the index now, so a store read from here on is not behind it.
            if self._index is None or not self._refreshed(self._index):
                self._index = self._open()
            index = self._index
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

    @staticmethod
    def _refreshed(index: LexicalIndex) -> bool:
        """See the latest commit, if the index was not replaced by another meanwhile."""
        try:
            index.refresh()
        except CollectionCorrupt:
            return False
        return True

    def _open(self) -> LexicalIndex:
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

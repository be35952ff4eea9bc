"""The store: one SQLite file with everything a collection holds.

It is the only truth; the vector index and the lexical index are derived from it. Every
transaction that changes something counts the generation up by one. The file is in WAL mode with
`synchronous=FULL`: a transaction that has returned survives the end of the process and, as far as
the disk keeps its promises, a power loss.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.core.errors import CollectionCorrupt, StorageError
from rag.indexes.records import VectorCodec
from rag.indexes.snapshot import Snapshot
from rag.indexes.transaction import Transaction

STORE_NAME = "store.sqlite"
_PATIENCE = 30.0
"""Seconds to wait for a lock that SQLite holds for a moment, to recover or to start anew."""

SCHEMA = """
CREATE TABLE state (
    generation INTEGER NOT NULL,  -- counts the transactions
    pruned INTEGER NOT NULL       -- up to this generation `removed` is incomplete
);
INSERT INTO state VALUES (0, 0);

-- The text comes last: what stands before it is read without it.
CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    uri TEXT NOT NULL,
    metadata TEXT NOT NULL,
    content_hash BLOB NOT NULL,
    text TEXT NOT NULL
);

-- The metadata again, one row a value: filters compare typed values, not JSON.
CREATE TABLE fields (
    document_id INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    name TEXT NOT NULL,
    value
);
CREATE INDEX fields_by_value ON fields (name, value, document_id);
CREATE INDEX fields_by_document ON fields (document_id);

-- Ids are never used again: the indexes know passages by them.
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    vector_id INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    name TEXT NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    title TEXT NOT NULL,  -- a splitter may shorten the document's
    heading TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX passages_by_document ON passages (document_id);
CREATE INDEX passages_by_generation ON passages (generation);

-- One vector for each different text.
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY,
    text_hash BLOB NOT NULL UNIQUE,
    vector BLOB NOT NULL
);

CREATE TABLE removed (
    passage_id INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
CREATE INDEX removed_by_generation ON removed (generation);
"""


class Store:
    """An open store; threads can share it.

    Args:
        folder: The collection's directory, which holds the store.
        codec: How vectors are stored.

    Attributes:
        path: The file.
        codec: How vectors are stored.

    Raises:
        StorageError: The file cannot be opened.
        CollectionCorrupt: The file is not a store.
    """

    def __init__(self, folder: Path, codec: VectorCodec) -> None:
        self.path = folder / STORE_NAME
        self.codec = codec
        self._idle: list[sqlite3.Connection] = []
        self._frozen: tuple[int, ...] | None = None
        self._closed = False
        with self.read():
            pass

    @classmethod
    def create(cls, folder: Path, codec: VectorCodec) -> Store:
        """Create an empty store.

        Raises:
            StorageError: The disk refused.
        """
        with sqlite_errors(folder):
            connection = sqlite3.connect(folder / STORE_NAME, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            finally:
                connection.close()
        return cls(folder, codec)

    @contextmanager
    def read(self) -> Iterator[Snapshot]:
        """Yield the store as it is now, and as it stays until the block ends.

        Raises:
            StorageError: The disk refused.
            CollectionCorrupt: The file is damaged.
        """
        with sqlite_errors(self.path):
            connection = self._take()
            try:
                connection.execute("BEGIN")
                yield Snapshot(connection, self.codec, str(self.path))
            finally:
                self._put_back(connection)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Yield a transaction; it is committed when the block ends, or not at all.

        Raises:
            StorageError: The disk refused.
            CollectionCorrupt: The file is damaged.
        """
        with sqlite_errors(self.path):
            connection = self._take()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield Transaction(connection, self.codec, str(self.path))
                connection.execute("COMMIT")
            finally:
                self._put_back(connection)

    def vacuum(self) -> None:
        """Give the room of what was removed back to the disk.

        Raises:
            StorageError: The disk refused; it takes as much room again for a while.
        """
        with sqlite_errors(self.path):
            connection = self._take()
            try:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._put_back(connection)

    def bytes_on_disk(self) -> int:
        """Return the size of the store's files."""
        return self.path.stat().st_size + self._wal_bytes()

    def close(self) -> None:
        """Close; what is still being read ends first."""
        self._closed = True
        self._drop_idle()

    def _wal_bytes(self) -> int:
        try:
            return self.path.with_name(f"{STORE_NAME}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def _take(self) -> sqlite3.Connection:
        if self._closed:
            raise StorageError(str(self.path), "is closed; open the collection again")
        if self._frozen is not None and self._frozen != self._state_of_files():
            self._drop_idle()
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return self._connect("mode=rw")
        except sqlite3.OperationalError:
            # SQLite needs shared memory beside the file. Where it may not create that, and no
            # writer has, the file can be read for as long as nobody changes it.
            may_write = os.access(self.path.parent, os.W_OK)
            if may_write or self._wal_bytes() or not self.path.exists():
                raise
            self._frozen = self._state_of_files()
            return self._connect("immutable=1")

    def _connect(self, mode: str) -> sqlite3.Connection:
        # Connections wander between threads, one at a time.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            isolation_level=None,
            timeout=_PATIENCE,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("SELECT 1 FROM state")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _state_of_files(self) -> tuple[int, ...]:
        state = self.path.stat()
        return state.st_mtime_ns, state.st_size, self._wal_bytes()

    def _put_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.rollback()
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the toolkit's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(
            str(path), f"{error}; what was committed before is intact, make room or allow access"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CollectionCorrupt(
            str(path), f"{error}; restore it from an export or a backup"
        ) from error

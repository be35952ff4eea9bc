"""The service's own records: collections, keys, jobs, answers. One SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import local

from rag.core.errors import StorageError

_MIGRATIONS = (
    """
    CREATE TABLE collections (
        name TEXT PRIMARY KEY COLLATE NOCASE,
        path TEXT NOT NULL UNIQUE,
        folder TEXT,               -- the documents that it follows; NULL where they are uploaded
        created TEXT NOT NULL
    ) STRICT;
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        hash BLOB NOT NULL UNIQUE, -- SHA-256 of the secret, which has 256 bits of its own
        scopes TEXT NOT NULL,      -- JSON list
        collections TEXT,          -- JSON list; NULL for all
        requests_per_minute INTEGER,
        tokens_per_day INTEGER,
        created TEXT NOT NULL,
        revoked TEXT
    ) STRICT;
    CREATE TABLE key_tokens (
        key_id TEXT NOT NULL REFERENCES keys,
        day TEXT NOT NULL,
        tokens INTEGER NOT NULL,
        PRIMARY KEY (key_id, day)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        number INTEGER NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        collection TEXT NOT NULL COLLATE NOCASE,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        cancelled INTEGER NOT NULL DEFAULT 0, -- somebody asked for its end while it ran
        file INTEGER,                         -- where it is, once it takes its files one by one
        deaths INTEGER NOT NULL DEFAULT 0,    -- how often the process ended there
        done INTEGER NOT NULL DEFAULT 0,
        total INTEGER,
        work TEXT NOT NULL,        -- JSON: what is to be done
        report TEXT,               -- JSON: what was done
        error TEXT,
        created TEXT NOT NULL,
        started TEXT,
        finished TEXT
    ) STRICT;
    CREATE INDEX jobs_by_state ON jobs (state, number);
    CREATE TABLE answers (
        id TEXT PRIMARY KEY,
        number INTEGER NOT NULL UNIQUE,
        key_id TEXT,
        collection TEXT COLLATE NOCASE,
        pipeline TEXT NOT NULL,
        question TEXT NOT NULL,
        answer TEXT NOT NULL,      -- JSON
        created TEXT NOT NULL
    ) STRICT;
    CREATE TABLE feedback (
        answer_id TEXT PRIMARY KEY REFERENCES answers ON DELETE CASCADE,
        rating TEXT NOT NULL,
        comment TEXT NOT NULL,
        created TEXT NOT NULL
    ) STRICT;
    """,
)


class Database:
    """Connections to the service's database, one a thread.

    Args:
        path: The file; it is made, and brought up to date, where needed.

    Raises:
        StorageError: The disk refused, or a later version of the service wrote the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = local()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Before SQLite makes it: the files beside it are made with its permissions.
        path.touch()
        path.chmod(0o600)
        with self.write() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(_MIGRATIONS):
                raise StorageError(str(path), "a later version of ragmeter wrote it; upgrade")
            for number, migration in enumerate(_MIGRATIONS[version:], start=version + 1):
                for statement in migration.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Change what is stored: all that is done within, or nothing.

        What was written survives the end of the process and of the machine.
        """
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StorageError(str(self.path), str(error)) from error

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Read what is stored, statement by statement."""
        try:
            yield self._connection()
        except sqlite3.OperationalError as error:
            raise StorageError(str(self.path), str(error)) from error

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._threads, "connection"):
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._threads.connection = connection
        found: sqlite3.Connection = self._threads.connection
        return found

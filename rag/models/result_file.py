"""The file in which results of language models are kept."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from rag.core.errors import StorageError

_APPLICATION = 0x72616763
"""What marks a file as ours; another layout of the table gets another number."""
_PATIENCE = 60.0
"""Seconds to wait while other processes write."""


class ResultFile:
    """A SQLite file of questions and their results, both as text.

    Threads and processes may use one file at once: each call opens it anew, which takes a fraction
    of a millisecond. A call that has returned survives the end of the process at any moment.

    Args:
        path: The file; it is created, with its folder, if it is not there.

    Raises:
        StorageError: The file cannot be used, or is something else. So do all methods.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(str(path), f"its folder cannot be made: {error}") from error
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and owner != _APPLICATION:
                raise self.unusable("it is a SQLite file of something else")
            if not tables:
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(
                    "CREATE TABLE results (hash BLOB PRIMARY KEY, asked TEXT NOT NULL, "
                    "result TEXT NOT NULL) WITHOUT ROWID"
                )
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")

    def read(self, asked: Iterable[str]) -> dict[str, str]:
        """Return the results there are, by what was asked."""
        # The question is compared, not only its hash: no other one's result can come back.
        select = "SELECT asked, result FROM results WHERE hash = ? AND asked = ?"
        with self._open() as connection:
            connection.execute("BEGIN")
            rows = (connection.execute(select, (_hash(each), each)).fetchone() for each in asked)
            return dict(row for row in rows if row)

    def write(self, results: Mapping[str, str]) -> None:
        """Keep results, by what was asked; all of them or none."""
        rows = [(_hash(asked), asked, result) for asked, result in results.items()]
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")

    def clear(self) -> None:
        """Drop all results and give their room back to the disk."""
        with self._open() as connection:
            connection.execute("DELETE FROM results")
            connection.execute("VACUUM")

    def unusable(self, reason: str) -> StorageError:
        """Return the error that says why the file cannot be used, and the next step."""
        return StorageError(
            str(self.path), f"{reason}; name another file, or delete it if it was a cache"
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=_PATIENCE)
            with closing(connection):
                # Enough against kills; a power loss may take the last results, and nothing more.
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except sqlite3.OperationalError as error:
            raise StorageError(
                str(self.path), f"{error}; make room, allow access, or name another file"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self.unusable(str(error)) from error


def _hash(asked: str) -> bytes:
    return hashlib.sha256(asked.encode()).digest()

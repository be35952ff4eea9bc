"""The file in which answers of web servers are kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.core.errors import StorageError
from rag.web.freshness import Exchange
from rag.web.replies import Reply

_APPLICATION = 0x72616770
"""What marks a file as ours; another layout of the table gets another number."""
_PATIENCE = 10.0
"""Seconds to wait while other processes write."""
_SCHEMA = """
    CREATE TABLE answers (
        url TEXT PRIMARY KEY, status INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL,
        address TEXT NOT NULL, varied TEXT NOT NULL, asked REAL NOT NULL, received REAL NOT NULL,
        size INTEGER NOT NULL, used INTEGER NOT NULL
    )
"""
_FIND = "SELECT status, headers, body, address, varied, asked, received FROM answers WHERE url = ?"
_LAST_USE = "(SELECT coalesce(max(used), 0) FROM answers)"
_TOUCH = f"UPDATE answers SET used = {_LAST_USE} + 1 WHERE url = ? AND used < {_LAST_USE}"  # noqa: S608
_KEEP = f"INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {_LAST_USE} + 1)"  # noqa: S608
_EVICT = """
    WITH kept AS (SELECT used, sum(size) OVER (ORDER BY used DESC) AS room FROM answers)
    DELETE FROM answers WHERE used <= (SELECT max(used) FROM kept WHERE room > ?)
"""


class HttpCache:
    """Answers of web servers by URL, in a SQLite file or in memory.

    When there is no room, what was not used for longest goes. Processes may share a file. One that
    is damaged is begun anew: everything in it can be fetched again.

    Calls must not overlap.

    Args:
        path: The file; it is created, with its folder, if it is not there. None for memory.
        max_bytes: Bytes of bodies and headers to keep at most.

    Raises:
        StorageError: The file cannot be used, or is something else. So do all methods.
    """

    def __init__(self, path: Path | None, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._connection = self._opened()

    def find(self, url: str) -> Exchange | None:
        """Return the answer that is kept of a URL, however old; None if there is none."""
        with self._usable():
            row = self._connection.execute(_FIND, (url,)).fetchone()
            if row is None:
                return None
            self._connection.execute(_TOUCH, (url,))
            status, headers, body, address, varied, asked, received = row
            reply = Reply(status, json.loads(headers), body, address)
            return Exchange(url, reply, json.loads(varied), asked, received)
        return None

    def keep(self, exchange: Exchange) -> None:
        """Keep an answer in place of the one before it."""
        reply = exchange.reply
        headers = json.dumps(dict(reply.headers))
        varied = json.dumps(dict(exchange.varied))
        size = len(reply.body) + len(headers)
        row = (exchange.url, reply.status, headers, reply.body, reply.address, varied)
        with self._usable():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_KEEP, (*row, exchange.asked, exchange.received, size))
            self._connection.execute(_EVICT, (self._max_bytes,))
            self._connection.execute("COMMIT")

    def drop(self, url: str) -> None:
        """Forget the answer of a URL."""
        with self._usable():
            self._connection.execute("DELETE FROM answers WHERE url = ?", (url,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Undo what fails; begin the file anew if it is damaged."""
        try:
            yield
        except sqlite3.OperationalError as error:
            self._connection.rollback()
            raise self._unusable(f"{error}; make room, allow access") from error
        except (sqlite3.DatabaseError, ValueError, TypeError):  # damaged
            self._connection.close()
            self._remove()
            self._connection = self._opened()

    def _opened(self) -> sqlite3.Connection:
        try:
            if self._path:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path or ":memory:",
                isolation_level=None,
                timeout=_PATIENCE,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(f"it cannot be opened: {error}") from error
        try:
            self._prepare(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unusable(str(error)) from error
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and owner != _APPLICATION:
            raise self._unusable("it is a SQLite file of something else")
        if not tables:
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(_SCHEMA)
            connection.execute("CREATE INDEX by_use ON answers (used, size)")
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        # Enough against kills; a power loss may take the last answers, and nothing more.
        connection.execute("PRAGMA synchronous = NORMAL")

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm") if self._path else ():
            file = Path(f"{self._path}{suffix}")
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise self._unusable(f"it is damaged and cannot be removed: {error}") from error

    def _unusable(self, reason: str) -> StorageError:
        return StorageError(
            str(self._path or "the cache of pages"),
            f"{reason}; name another file, or delete it if it was a cache of pages",
        )

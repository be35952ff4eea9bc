"""The file in which a profile's observations are kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from rag.allocation.observations import Cell, Observation
from rag.core.allocations import Allocation
from rag.core.errors import InputError, StorageError

_APPLICATION = 0x7261676F
"""What marks a file as ours."""
_PATIENCE = 60.0
"""Seconds to wait while another process writes."""


class ObservationStore:
    """A SQLite file with a row for each question and allocation.

    What `add` was given survives the end of the process at any moment, so a profile that is cut
    short goes on where it was. Observations of different models, prompts, retrievers or examples do
    not belong together: the file holds those of one setup and refuses another. Of a name that it
    has no value for yet, such as one that says something of a further data set, it takes the value.

    Args:
        path: The file; created if it is not there.
        setup: What observations share, as names and values; None takes what the file says, and
            writes nothing to it.

    Attributes:
        setup: All names and values of the file.

    Raises:
        InputError: The file holds observations of another setup, or is not there and none is given.
        StorageError: The file cannot be used, or is something else. So do all methods.
    """

    def __init__(self, path: Path, setup: Mapping[str, str] | None = None) -> None:
        self.path = path
        if setup is None and not path.exists():
            raise InputError(f"{path} does not exist; `rag budget profile` makes it")
        with self._open() as connection:
            connection.execute("BEGIN" if setup is None else "BEGIN IMMEDIATE")
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if owner != _APPLICATION:
                if tables or setup is None:
                    raise self._unusable("it is no file of observations")
                _create(connection)
            self.setup = self._agreed(connection, setup or {})
            connection.execute("COMMIT")

    def add(self, observations: Iterable[Observation]) -> None:
        """Keep observations, all or none; one of the same question and allocation is replaced."""
        rows = [
            (each.dataset, *_key(each.cell), each.query_id, json.dumps(each.as_json()))
            for each in observations
        ]
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("REPLACE INTO observations VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")

    def done(self, dataset: str) -> set[tuple[Cell, str]]:
        """Return the allocations and questions of a data set that were measured."""
        select = (
            "SELECT strategy, documents, examples, steps, query_id FROM observations "
            "WHERE dataset = ?"
        )
        with self._open() as connection:
            rows = connection.execute(select, (dataset,)).fetchall()
        return {((row[0], Allocation(*row[1:4])), row[4]) for row in rows}

    def __iter__(self) -> Iterator[Observation]:
        """Yield all observations, by data set, cell and question."""
        select = (
            "SELECT observation FROM observations "
            "ORDER BY dataset, strategy, documents, examples, steps, query_id"
        )
        with self._open() as connection:
            rows = connection.execute(select).fetchall()
        try:
            return iter([Observation.from_json(json.loads(row[0])) for row in rows])
        except (InputError, ValueError, TypeError, KeyError) as error:
            raise self._unusable(f"an observation in it cannot be read: {error!r}") from error

    def _agreed(self, connection: sqlite3.Connection, given: Mapping[str, str]) -> dict[str, str]:
        """Return the file's setup, with the names that are new to it."""
        (kept,) = connection.execute("SELECT setup FROM setups").fetchone()
        setup: dict[str, str] = json.loads(kept)
        for name, value in given.items():
            if setup.setdefault(name, value) != value:
                raise InputError(
                    f"{self.path} holds observations with {name} {setup[name]!r}, not {value!r}; "
                    "name another file"
                )
        if given:
            connection.execute("UPDATE setups SET setup = ?", (json.dumps(setup),))
        return setup

    def _unusable(self, reason: str) -> StorageError:
        return StorageError(str(self.path), f"{reason}; name another file")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            with closing(connection):
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.OperationalError as error:
            raise StorageError(
                str(self.path), f"{error}; make room, allow access, or name another file"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._unusable(str(error)) from error


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute("CREATE TABLE setups (setup TEXT NOT NULL)")
    connection.execute("INSERT INTO setups VALUES ('{}')")
    connection.execute(
        "CREATE TABLE observations (dataset TEXT, strategy TEXT, documents INTEGER, "
        "examples INTEGER, steps INTEGER, query_id TEXT, observation TEXT NOT NULL, "
        "PRIMARY KEY (dataset, strategy, documents, examples, steps, query_id))"
    )


def _key(cell: Cell) -> tuple[str, int, int, int]:
    strategy, allocation = cell
    return strategy, allocation.documents, allocation.examples, allocation.steps

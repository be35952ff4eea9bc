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
    not belong together: the file holds those of one setup and refuses another.

    Args:
        path: The file; created if it is not there.
        setup: What all observations share, as names and values; None takes what the file says.

    Raises:
        InputError: The file holds observations of another setup, or is not there and none is given.
        StorageError: The file cannot be used, or is something else. So do all methods.
    """

    def __init__(self, path: Path, setup: Mapping[str, str] | None = None) -> None:
        self.path = path
        if setup is None and not path.exists():
            raise InputError(f"{path} does not exist; `rag budget profile` makes it")
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and owner != _APPLICATION:
                raise StorageError(str(path), "it is a SQLite file of something else")
            if not tables:
                self._create(connection, setup or {})
            (kept,) = connection.execute("SELECT setup FROM setups").fetchone()
            connection.execute("COMMIT")
        self.setup: dict[str, str] = json.loads(kept)
        for name, value in (setup or {}).items():
            if self.setup.get(name) != value:
                raise InputError(
                    f"{path} holds observations with {name} {self.setup.get(name)!r}, not "
                    f"{value!r}; name another file"
                )

    def add(self, observations: Iterable[Observation]) -> None:
        """Keep observations; one of the same question and allocation is replaced."""
        rows = [
            (each.dataset, *_key(each.cell), each.query_id, json.dumps(each.as_json()))
            for each in observations
        ]
        with self._open() as connection, connection:
            connection.executemany("REPLACE INTO observations VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

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
        return (Observation.from_json(json.loads(row[0])) for row in rows)

    def _create(self, connection: sqlite3.Connection, setup: Mapping[str, str]) -> None:
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute("CREATE TABLE setups (setup TEXT NOT NULL)")
        connection.execute("INSERT INTO setups VALUES (?)", (json.dumps(dict(setup)),))
        connection.execute(
            "CREATE TABLE observations (dataset TEXT, strategy TEXT, documents INTEGER, "
            "examples INTEGER, steps INTEGER, query_id TEXT, observation TEXT NOT NULL, "
            "PRIMARY KEY (dataset, strategy, documents, examples, steps, query_id))"
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            with closing(connection):
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except sqlite3.Error as error:
            raise StorageError(str(self.path), str(error)) from error


def _key(cell: Cell) -> tuple[str, int, int, int]:
    strategy, allocation = cell
    return strategy, allocation.documents, allocation.examples, allocation.steps

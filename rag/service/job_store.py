"""Jobs in the service's database: what is to be done, what is being done, what was done."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rag.service.database import Database
from rag.service.schemas import JobKind, JobReply, JobState, RefusedFile

KEPT = 1000
"""Finished jobs that are kept."""

_ATTEMPTS = 3
"""Starts of a job that may end with the end of the process."""

_CRASHED = (
    f"the process ended {_ATTEMPTS} times while this job ran: a file may be too large, or broken "
    "in a way that ends it; take it out of the folder"
)

_POISON = "the process ended each time it was read: too large, or broken in a way that ends it"

_ENDED = "('done', 'failed', 'cancelled')"


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was begun.

    Args:
        id: Names the job, and for uploads the upload.
        kind: 'upload' or 'folder'.
        collection: The collection that it changes.
        files: For uploads: the names of the documents that are to be added, by the numbers of
            their files.
        done: How many were before.
        refused: The files that were refused so far.
        report: What was done of it by earlier starts that took the files one by one.
        careful: Whether to take the files one by one, for the process ended when they were taken
            together.
    """

    id: str
    kind: JobKind
    collection: str
    files: Mapping[int, str]
    done: int
    refused: tuple[RefusedFile, ...]
    report: Mapping[str, int]
    careful: bool


class JobStore:
    """Writes jobs down, and finds them.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        kind: JobKind,
        collection: str,
        *,
        id: str | None = None,  # noqa: A002
        files: Mapping[int, str] | None = None,
        refused: Sequence[RefusedFile] = (),
    ) -> JobReply:
        """Queue a job; it survives from here on.

        Args:
            kind: 'upload' or 'folder'.
            collection: The collection that it changes.
            id: Names it; None names it at random.
            files: For uploads: the names of the documents, by the numbers of their files.
            refused: The files that were refused already.
        """
        name = id or secrets.token_hex(12)
        work = {"files": files or {}, "refused": [each.model_dump() for each in refused]}
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO jobs (id, number, kind, collection, state, total, work, created) "
                "SELECT ?, coalesce(max(number), 0) + 1, ?, ?, 'queued', ?, ?, ? FROM jobs",
                (name, kind, collection, len(files) if files else None, json.dumps(work), _now()),
            )
        found = self.get(name)
        assert found is not None  # noqa: S101 - it has just been written
        return found

    def take(self) -> Job | None:
        """Begin the job that has waited longest; None where none waits."""
        with self._database.write() as connection:
            rows = connection.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, done = 0, started = ? "
                "WHERE id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1) "
                "RETURNING *",
                (_now(),),
            ).fetchall()
        if not rows:
            return None
        return _begun(rows[0])

    def begin_file(
        self,
        id: str,  # noqa: A002
        number: int,
        report: Mapping[str, int],
        refused: Sequence[RefusedFile],
    ) -> None:
        """Say which file a job is at that takes them one by one, and what was done before."""
        told = {"report": report, "refused": [each.model_dump() for each in refused]}
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET deaths = CASE WHEN file = ?1 THEN deaths ELSE 0 END, "
                "file = ?1, report = ?2 WHERE id = ?3",
                (number, json.dumps(told), id),
            )

    def advance(self, id: str, done: int, total: int | None) -> None:  # noqa: A002
        """Say how far a job has come."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET done = ?, total = ? WHERE id = ?", (done, total, id)
            )

    def end(
        self,
        id: str,  # noqa: A002
        state: JobState,
        *,
        done: int,
        total: int | None,
        report: Mapping[str, int],
        refused: Sequence[RefusedFile],
        error: str | None = None,
    ) -> None:
        """Say how a job ended, and forget those that ended long ago."""
        told = {"report": report, "refused": [each.model_dump() for each in refused]}
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, done = ?, total = ?, report = ?, error = ?, "
                "finished = ? WHERE id = ?",
                (state, done, total, json.dumps(told), error, _now(), id),
            )
            connection.execute(
                f"DELETE FROM jobs WHERE state IN {_ENDED} AND number <= "  # noqa: S608
                f"(SELECT number FROM jobs WHERE state IN {_ENDED} "
                "ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (KEPT,),
            )

    def put_back(self, id: str) -> None:  # noqa: A002
        """Queue a job again that was interrupted; this was no attempt."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1 WHERE id = ?", (id,)
            )

    def recover(self) -> None:
        """Queue the jobs that were running when the process ended, those that may run again.

        An upload may always: its next start takes the files one by one, so the one that ends the
        process is found, and is left out once it has done so three times.
        """
        with self._database.write() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ? "
                "WHERE state IN ('queued', 'running') AND cancelled",
                (_now(),),
            )
            connection.execute(
                "UPDATE jobs SET state = 'failed', finished = ?, error = ? "
                "WHERE state = 'running' AND kind = 'folder' AND attempts >= ?",
                (_now(), _CRASHED, _ATTEMPTS),
            )
            connection.execute(
                "UPDATE jobs SET deaths = deaths + 1 WHERE state = 'running' AND file IS NOT NULL"
            )
            connection.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def cancel(self, id: str) -> bool:  # noqa: A002
        """Cancel a job that is queued, and ask for the end of one that is running.

        Returns:
            Whether it was queued, and so has ended.
        """
        with self._database.write() as connection:
            ended = connection.execute(
                "UPDATE jobs SET state = 'cancelled', finished = ? "
                "WHERE id = ? AND state = 'queued'",
                (_now(), id),
            ).rowcount
            connection.execute(
                "UPDATE jobs SET cancelled = 1 WHERE id = ? AND state = 'running'", (id,)
            )
        return bool(ended)

    def get(self, id: str) -> JobReply | None:  # noqa: A002
        """Return a job; None where there is none of that id."""
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        return None if row is None else _reply(row)

    def list(
        self, *, collection: str | None = None, states: Sequence[JobState] = ()
    ) -> Sequence[JobReply]:
        """Return jobs, the latest first.

        Args:
            collection: Only those of a collection.
            states: Only those in one of these states; none are all states.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE (?1 IS NULL OR collection = ?1) "
                "AND (?2 = '[]' OR state IN (SELECT value FROM json_each(?2))) "
                "ORDER BY number DESC",
                (collection, json.dumps(states)),
            ).fetchall()
        return [_reply(row) for row in rows]

    def count(self, state: JobState) -> int:
        """Return how many jobs are in a state."""
        with self._database.read() as connection:
            number: int
            (number,) = connection.execute(
                "SELECT count(*) FROM jobs WHERE state = ?", (state,)
            ).fetchone()
        return number


def _begun(row: sqlite3.Row) -> Job:
    work = json.loads(row["work"])
    told = json.loads(row["report"] or row["work"])
    files = {int(number): name for number, name in work["files"].items()}
    total = len(files)
    refused = _refused(told)
    if row["file"] is not None:
        files = {number: name for number, name in files.items() if number >= row["file"]}
        if row["deaths"] >= _ATTEMPTS - 1:  # the first start took it together with others
            refused = (*refused, RefusedFile(name=files.pop(row["file"]), reason=_POISON))
    return Job(
        row["id"],
        row["kind"],
        row["collection"],
        files,
        total - len(files),
        refused,
        told.get("report", {}),
        careful=row["attempts"] > 1,
    )


def _reply(row: sqlite3.Row) -> JobReply:
    told = json.loads(row["report"] or row["work"])
    return JobReply(
        id=row["id"],
        kind=row["kind"],
        collection=row["collection"],
        state=row["state"],
        done=row["done"],
        total=row["total"],
        report=told.get("report", {}),
        refused=_refused(told),
        error=row["error"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
    )


def _refused(told: Mapping[str, list[dict[str, str]]]) -> tuple[RefusedFile, ...]:
    return tuple(RefusedFile(**each) for each in told["refused"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

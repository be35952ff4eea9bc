"""What jobs do: uploaded files, and those of a followed folder, into a collection."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from urllib.parse import quote

from rag.core.documents import Document
from rag.core.errors import Cancelled, InputError, LoadError, MissingExtra
from rag.indexes import AddReport
from rag.indexes.records import DocumentRecord
from rag.indexes.sources import Source
from rag.service.job_store import Job, JobStore
from rag.service.library import Shelf
from rag.service.schemas import RefusedFile
from rag.service.uploads import Uploads
from rag.text import MAX_BYTES, load

_TELLING = 0.5
"""Seconds between two times that the progress is written down."""

_MOST_REFUSED = 1000
"""Refused files that a job lists."""


class Indexing:
    """A job that is being done.

    Args:
        job: What is to be done.
        store: Where its progress is written down.
        uploads: The files that wait.
        stopped: Set by whoever wants it to end.

    Attributes:
        done: Files that are finished.
        total: Files in all; None while unknown.
        refused: The files that gave no document.
    """

    def __init__(self, job: Job, store: JobStore, uploads: Uploads, stopped: Event) -> None:
        self.done = job.done
        self.total: int | None = job.done + len(job.files) or None
        self.refused = list(job.refused)
        self._job = job
        self._store = store
        self._uploads = uploads
        self._stopped = stopped
        before = dict(job.report)
        self._removed = before.pop("removed", 0)
        self._added = AddReport(**before)
        self._read = job.done
        self._told = 0.0

    @property
    def report(self) -> dict[str, int]:
        """What was done so far."""
        return {**asdict(self._added), "removed": self._removed}

    def run(self, shelf: Shelf) -> None:
        """Do the job.

        Raises:
            Cancelled: It was stopped; what was committed stays.
            InputError: The folder is not there, or a document cannot be embedded.
            StorageError: The disk refused.
        """
        if shelf.folder is not None and self._job.kind == "folder":
            self._follow(shelf, shelf.folder)
        elif self._job.careful:
            for number, name in self._job.files.items():
                self._store.begin_file(self._job.id, number, self.report, self.refused)
                self._add(shelf, self._uploaded({number: name}))
        else:
            self._add(shelf, self._uploaded(self._job.files))
        self.done = self.total = self._read

    def _add(self, shelf: Shelf, documents: Iterable[Document]) -> None:
        storable = (each for each in documents if self._can_be_stored(each))
        for report in shelf.collection.add_batches(storable, progress=self._progress):
            self._added += report
            self.done = self._read
            if time.monotonic() - self._told > _TELLING:
                self._store.advance(self._job.id, self.done, self.total)
                self._told = time.monotonic()

    def _uploaded(self, files: Mapping[int, str]) -> Iterator[Document]:
        for number, name in files.items():
            self._check()
            self._read += 1
            try:
                document = load(
                    self._uploads.path(self._job.id, number),
                    document_id=name,
                    name=name,
                    max_bytes=max(MAX_BYTES, self._uploads.limits.file_bytes),
                )
            except LoadError as error:
                self._refuse(name, error.reason)
            except MissingExtra as error:
                self._refuse(name, str(error))
            else:
                yield replace(document, uri=f"upload:{quote(name)}")

    def _follow(self, shelf: Shelf, folder: Path) -> None:
        """Bring a collection to what its folder holds."""
        if not folder.is_dir():
            raise InputError(f"the folder of the collection '{shelf.name}' is not there")
        source = Source([folder])
        self._add(shelf, source.documents(self._progress))
        for each in source.skipped:
            if each.path in source.wanted:
                name = each.path.relative_to(folder).as_posix()
                self._refuse(name, each.reason.replace(str(each.path), name))
        if gone := source.gone(shelf.collection):
            self._removed = shelf.collection.remove(gone)

    def _progress(self, stage: str, done: int, total: int | None) -> None:
        self._check()
        if stage == "reading":
            self._read, self.total = done, total

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("the job was stopped")

    def _can_be_stored(self, document: Document) -> bool:
        try:
            DocumentRecord.of(document)
        except InputError as error:
            self._refuse(document.id, str(error))
            return False
        return True

    def _refuse(self, name: str, reason: str) -> None:
        if len(self.refused) < _MOST_REFUSED:
            self.refused.append(RefusedFile(name=name, reason=reason))

"""Work in the background that survives restarts: one job at a time, on a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition, Event, Thread

from rag.core.errors import Cancelled, RagError, StorageError
from rag.pipelines.encoded_passages import drop_removed
from rag.service.errors import ApiError, api_error
from rag.service.indexing import Indexing
from rag.service.job_store import Job, JobStore
from rag.service.library import Library
from rag.service.logs import log
from rag.service.schemas import JobReply, JobState
from rag.service.uploads import Upload, Uploads

_MOST_QUEUED = 10_000
_PAUSE = 5.0
"""Seconds to wait where the database refuses."""


class Jobs:
    """Runs jobs one after another.

    Args:
        store: Where they are written down.
        library: The collections that they change.
        uploads: The files that wait.
    """

    def __init__(self, store: JobStore, library: Library, uploads: Uploads) -> None:
        self._store = store
        self._library = library
        self._uploads = uploads
        self._stopping = Event()
        self._changed = Condition()
        self._running: tuple[Job, Event] | None = None
        self._thread = Thread(target=self._work, name="rag-jobs")

    def start(self) -> None:
        """Take up what was left, have followed folders read again, and begin to work."""
        self._store.recover()
        waiting = self._store.list(states=["queued"])
        self._uploads.sweep({job.id for job in waiting if job.kind == "upload"})
        for shelf in self._library:
            if shelf.folder is not None:
                self.submit_folder(shelf.name)
        self._thread.start()

    def stop(self) -> None:
        """Stop working; the job that is running goes on where it was when the service starts."""
        with self._changed:
            self._stopping.set()
            if self._running is not None:
                self._running[1].set()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether jobs are worked on."""
        return self._thread.is_alive()

    def queued(self) -> int:
        """Return how many jobs wait."""
        return self._store.count("queued")

    def check_room(self) -> None:
        """Refuse more jobs where too many wait.

        Raises:
            ApiError: So many do.
        """
        if self.queued() >= _MOST_QUEUED:
            raise ApiError(
                429,
                "overloaded",
                f"{_MOST_QUEUED:,} jobs wait; try again when some are done",
                headers={"Retry-After": "60"},
            )

    def submit_upload(self, collection: str, upload: Upload) -> JobReply:
        """Have uploaded files indexed.

        Raises:
            CollectionNotFound: The collection is gone; so is the upload.
            StorageError: The disk refused; the upload is gone.
        """
        try:
            name = self._library[collection].name
            job = self._store.add(
                "upload", name, id=upload.id, files=upload.files, refused=upload.refused
            )
        except RagError:
            self._uploads.drop(upload.id)
            raise
        self._wake()
        return job

    def submit_folder(self, collection: str) -> JobReply:
        """Have the folder that a collection follows read again; a job that waits to do so will do.

        Raises:
            CollectionNotFound: There is no such collection.
            StorageError: The disk refused.
        """
        name = self._library[collection].name
        queued = self._store.list(collection=name, states=["queued"])
        waiting = [job for job in queued if job.kind == "folder"]
        job = waiting[0] if waiting else self._store.add("folder", name)
        self._wake()
        return job

    def get(self, id: str) -> JobReply | None:  # noqa: A002
        """Return a job; None where there is none of that id."""
        return self._store.get(id)

    def list(
        self, *, collection: str | None = None, states: Sequence[JobState] = ()
    ) -> Sequence[JobReply]:
        """Return jobs, the latest first; see `JobStore.list`."""
        return self._store.list(collection=collection, states=states)

    def cancel(self, id: str) -> JobReply | None:  # noqa: A002
        """Cancel a job: one that waits never starts, one that runs stops soon.

        What a running job has committed stays.

        Returns:
            The job as it is now; None where there is none of that id.
        """
        with self._changed:
            if self._store.cancel(id):
                self._uploads.drop(id)
            if self._running is not None and self._running[0].id == id:
                self._running[1].set()
        return self._store.get(id)

    def cancel_all(self, collection: str) -> None:
        """Cancel the jobs of a collection, and wait for the one that runs to stop."""
        name = collection.casefold()
        for job in self._store.list(collection=collection, states=["queued", "running"]):
            self.cancel(job.id)
        with self._changed:
            self._changed.wait_for(
                lambda: self._running is None or self._running[0].collection.casefold() != name
            )

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._changed:
                    job = self._store.take()
                    if job is None:
                        self._changed.wait(_PAUSE)
                        continue
                    stopped = Event()
                    self._running = job, stopped
                self._run(job, stopped)
            except StorageError:
                # The job is still written down as running; the next start takes it up again.
                log.exception("jobs cannot be written down")
                self._stopping.wait(_PAUSE)
            finally:
                with self._changed:
                    self._running = None
                    self._changed.notify_all()

    def _run(self, job: Job, stopped: Event) -> None:
        indexing = Indexing(job, self._store, self._uploads, stopped)
        state: JobState = "done"
        error = None
        try:
            collection = self._library[job.collection]
            indexing.run(collection)
            drop_removed(collection.collection)
        except Cancelled:
            if self._stopping.is_set():
                self._store.put_back(job.id)
                return
            state = "cancelled"
        except StorageError:
            raise  # the upload stays: nothing that was acknowledged is lost for want of room
        except Exception as failure:  # noqa: BLE001 - the next job is to run all the same
            log.error("a job failed", job=job.id, kind=job.kind, exc_info=failure)
            state, error = "failed", api_error(failure).message
        self._store.end(
            job.id,
            state,
            done=indexing.done,
            total=indexing.total,
            report=indexing.report,
            refused=indexing.refused,
            error=error,
        )
        if job.kind == "upload":
            self._uploads.drop(job.id)
        log.info("a job ended", job=job.id, kind=job.kind, state=state, **indexing.report)

"""The lock on writing a collection."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from rag.core.errors import CollectionError, CollectionExists, CollectionLocked, StorageError
from rag.indexes.manifest import MANIFEST_NAME

_LONGEST_COMMAND = 200
_OWN_FILES = ("store.sqlite*", "writer.*", "lexical*", "vectors-*", f"{MANIFEST_NAME}.tmp")


class WriterLock:
    """Lets one process at a time write a collection.

    The operating system drops the lock with the process that holds it, however it ends. The
    holder's name stands beside it in a readable file, since others cannot be asked for it.

    Args:
        folder: The collection's directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holder = folder / "writer.json"
        self._lock = FileLock(folder / "writer.lock", timeout=0, thread_local=False)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            CollectionLocked: Another writer has it; the error names the holder.
            StorageError: The directory cannot be written.
        """
        try:
            self._lock.acquire()
            self._holder.write_text(json.dumps(_this_process()))
        except Timeout as error:
            raise CollectionLocked(str(self._folder), self._named_holder()) from error
        except OSError as error:
            self._lock.release()
            raise StorageError(
                str(self._folder), f"cannot be opened for writing: {error}"
            ) from error

    def release(self) -> None:
        """Give the lock back."""
        if self._lock.is_locked:
            self._holder.unlink(missing_ok=True)
            self._lock.release()

    def _named_holder(self) -> str:
        try:
            holder = json.loads(self._holder.read_text())
            return "{command} (process {pid} on {host}, since {since})".format(**holder)
        except (OSError, ValueError, KeyError):
            return "another process"


def _this_process() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join(sys.argv)[:_LONGEST_COMMAND],
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def claim(folder: Path) -> WriterLock:
    """Take a directory for a new collection.

    Raises:
        CollectionExists: It is one already.
        CollectionLocked: Another process has claimed it.
        CollectionError: It holds something else.
        StorageError: The disk refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(str(folder), f"cannot be created: {error}") from error
    if (folder / MANIFEST_NAME).exists():
        raise CollectionExists(str(folder), "there is a collection here; open it, or remove it")
    strange = [file for file in folder.iterdir() if not any(map(file.match, _OWN_FILES))]
    if strange:
        raise CollectionError(
            str(folder), f"holds {strange[0].name}, so it is no place for a collection"
        )
    writer = WriterLock(folder)
    writer.acquire()
    # Without a manifest, files of ours are what an interrupted creation left.
    for file in folder.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif not file.match("writer.*"):
            file.unlink()
    return writer

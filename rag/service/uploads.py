"""Uploaded files, on the disk until they are indexed.

An upload is a folder of its own, its files are called by their numbers: nothing that a client
sends becomes a path. When an upload has been received, all of it has reached the disk.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from rag.core.errors import InputError, LoadError
from rag.service.document_names import LONGEST, clean_name
from rag.service.errors import ApiError
from rag.service.multipart import MultipartBody, PartBegins, PartEnds, Piece
from rag.service.schemas import RefusedFile
from rag.service.settings import Limits
from rag.text.loading import check_format

FIELD = "files"
"""The field of the form that holds the files."""

_NAMED = 5
"""Refused files that an error names."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Files that were received.

    Args:
        id: Names the upload.
        files: The names of its documents, by the numbers of their files.
        refused: The files that were not taken.
    """

    id: str
    files: dict[int, str]
    refused: tuple[RefusedFile, ...]


class Uploads:
    """Receives uploads, and holds them until they are dropped.

    Args:
        folder: Where they lie.
        limits: How much is received.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.limits = limits
        self._folder = folder
        self._sizes: dict[str, int] = {}
        self._counting = Lock()
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)

    def sweep(self, wanted: set[str]) -> None:
        """Remove what a kill left behind, and count what is there.

        Args:
            wanted: The uploads that wait to be indexed.
        """
        for each in self._folder.iterdir():
            if each.name in wanted:
                self._sizes[each.name] = sum(file.stat().st_size for file in each.iterdir())
            else:
                shutil.rmtree(each)

    def path(self, upload: str, number: int) -> Path:
        """Return where a file of an upload lies."""
        return self._folder / upload / str(number)

    def drop(self, upload: str) -> None:
        """Remove an upload; one that is not there is passed over."""
        shutil.rmtree(self._folder / upload, ignore_errors=True)
        with self._counting:
            self._sizes.pop(upload, None)

    def hold(self, upload: str, size: int) -> None:
        """Count bytes that are about to be written, or fewer where they are given back.

        Raises:
            ApiError: There is no room for them.
        """
        with self._counting:
            if size > 0 and sum(self._sizes.values()) + size > self.limits.stored_bytes:
                raise ApiError(
                    507,
                    "uploads_full",
                    "the uploads that wait to be indexed take all the room that they may have; "
                    "try again when some are done",
                    headers={"Retry-After": "60"},
                )
            self._sizes[upload] = self._sizes.get(upload, 0) + size

    async def receive(self, request: Request) -> Upload:
        """Receive the files of a request.

        Returns:
            The upload, which has reached the disk; files that are no documents are left out.

        Raises:
            ApiError: The body is malformed or too large, there is no room for it, or none of its
                files can be taken.
        """
        body = MultipartBody(request.headers.get("content-type", ""))
        receiving = _Receiving(self, self._folder / secrets.token_hex(12), body)
        try:
            async for chunk in request.stream():
                await run_in_threadpool(receiving.feed, chunk)
            return await run_in_threadpool(receiving.finish)
        except BaseException as error:
            receiving.close()
            self.drop(receiving.folder.name)
            match error:
                case ClientDisconnect():
                    raise ApiError(400, "disconnected", "the upload was broken off") from error
                case OSError():
                    raise ApiError(507, "disk_refused", "the upload could not be kept") from error
            raise


@dataclass
class _Receiving:
    """An upload that is being received."""

    uploads: Uploads
    folder: Path
    body: MultipartBody
    files: dict[int, str] = field(default_factory=dict)
    refused: list[RefusedFile] = field(default_factory=list)
    received: int = 0
    name: str = ""
    reason: str | None = None
    size: int = 0
    written: int = 0
    file: BinaryIO | None = None

    def feed(self, chunk: bytes) -> None:
        """Take what came."""
        self.received += len(chunk)
        if self.received > self.uploads.limits.upload_bytes:
            raise ApiError(
                413,
                "too_large",
                f"an upload has at most {self.uploads.limits.upload_bytes:,} bytes; send the files "
                "in several",
            )
        for piece in self.body.feed(chunk):
            self._take(piece)

    def finish(self) -> Upload:
        """Return the upload once the disk has it."""
        self.body.finish()
        if not self.files:
            raise _nothing(self.refused)
        _sync(self.folder)
        _sync(self.folder.parent)
        return Upload(self.folder.name, self.files, tuple(self.refused))

    def close(self) -> None:
        """Close the file that is being written."""
        if self.file is not None:
            self.file.close()

    def _take(self, piece: Piece) -> None:
        match piece:
            case PartBegins(field=name, filename=filename):
                self._begin(name, filename)
            case PartEnds():
                self._end()
            case bytes():
                self._write(piece)

    def _begin(self, name: str, filename: str | None) -> None:
        if name != FIELD or filename is None:
            raise ApiError(422, "malformed_form", f"the form has files only, named '{FIELD}'")
        if len(self.files) + len(self.refused) == self.uploads.limits.upload_files:
            raise ApiError(
                413,
                "too_many_files",
                f"an upload has at most {self.uploads.limits.upload_files:,} files; send several",
            )
        self.name, self.reason, self.size, self.written = filename, None, 0, 0
        try:
            self.name = clean_name(filename)
        except InputError as error:
            self.reason = str(error)
            return
        if self.name in self.files.values():
            self.reason = "another file of this upload has its name"
            return
        self.folder.mkdir(exist_ok=True)
        self.file = self._path.open("xb")

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self.uploads.limits.file_bytes:
            self.reason = f"it is larger than {self.uploads.limits.file_bytes:,} bytes"
        if self.file is not None and self.reason is None:
            self.uploads.hold(self.folder.name, len(data))
            self.written += len(data)
            self.file.write(data)

    def _end(self) -> None:
        if self.file is not None:
            with self.file:
                self.file.flush()
                self.reason = self.reason or self._why_no_document()
                if self.reason is None:
                    os.fsync(self.file.fileno())
            self.file = None
        if self.reason is None:
            self.files[self._number] = self.name
        else:
            self._path.unlink(missing_ok=True)
            self.uploads.hold(self.folder.name, -self.written)
            self.refused.append(RefusedFile(name=self.name[:LONGEST], reason=self.reason))

    def _why_no_document(self) -> str | None:
        if self.size == 0:
            return "it is empty"
        try:
            check_format(self._path, self.name)
        except LoadError as error:
            return error.reason
        return None

    @property
    def _number(self) -> int:
        return len(self.files) + len(self.refused)

    @property
    def _path(self) -> Path:
        return self.folder / str(self._number)


def _nothing(refused: list[RefusedFile]) -> ApiError:
    """Return the error of an upload of which nothing is left."""
    if not refused:
        return ApiError(422, "no_files", f"there are no files in the form's field '{FIELD}'")
    named = [f"{each.name!r}: {each.reason}" for each in refused[:_NAMED]]
    more = [f"{len(refused) - _NAMED} more"] if len(refused) > _NAMED else []
    return ApiError(422, "files_refused", "; ".join(["no file can be taken", *named, *more]))


def _sync(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

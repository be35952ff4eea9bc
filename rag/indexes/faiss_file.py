"""Index files: what FAISS writes, followed by a footer that tells a whole file from a damaged one.

FAISS reads the files as they are. It checks little of what it reads, so a damaged file could
crash the process; hence the checksum.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rag.core.errors import CollectionCorrupt, StorageError
from rag.core.extras import require

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")

_FOOTER = struct.Struct("<8s4sIQ")  # magic, kind, CRC-32 and length of what FAISS wrote
_MAGIC = b"ragvec01"
_CHUNK = 1 << 20


class StoredIndex(NamedTuple):
    """What an index file holds: the FAISS index, and the kind that was asked for."""

    index: Any
    kind: str


def write_index(stored: StoredIndex, path: Path) -> None:
    """Write an index file under another name, make it durable, and move it into place.

    Raises:
        StorageError: The disk refused; what was at `path` before is intact.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            body = _ChecksummedWriter(file)
            # FAISS's own writer misses an error on its last bytes, which a full disk gives.
            faiss.write_index(stored.index, faiss.PyCallbackIOWriter(body.write, _CHUNK))
            file.write(_FOOTER.pack(_MAGIC, stored.kind.encode(), body.crc, body.length))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(str(path), f"the index could not be saved: {error}") from error


def read_index(path: Path, *, mapped: bool) -> StoredIndex:
    """Read an index file.

    Args:
        path: The file.
        mapped: Whether to leave the vectors in the file. It is then not read through, so only
            its length and its footer are checked.

    Raises:
        StorageError: The file cannot be read.
        CollectionCorrupt: The file is damaged, or was not written by `write_index`.
    """
    try:
        with path.open("rb") as file:
            kind = _check(file, path, whole=not mapped)
    except OSError as error:
        raise StorageError(str(path), f"the index could not be read: {error}") from error
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except (RuntimeError, MemoryError) as error:
        raise _corrupt(path, f"FAISS cannot read it ({error})") from error
    return StoredIndex(index, kind)


def _check(file: BinaryIO, path: Path, *, whole: bool) -> str:
    length = file.seek(0, os.SEEK_END) - _FOOTER.size
    if length < 0:
        raise _corrupt(path, "it is too short to be an index")
    file.seek(length)
    magic, kind, crc, written = _FOOTER.unpack(file.read())
    if magic != _MAGIC:
        raise _corrupt(path, "it is cut short or not an index")
    if written != length:
        raise _corrupt(path, f"it holds {length} bytes of an index that has {written}")
    if whole:
        file.seek(0)
        found = 0
        while length:
            chunk = file.read(min(_CHUNK, length))
            found = zlib.crc32(chunk, found)
            length -= len(chunk)
        if found != crc:
            raise _corrupt(path, "its checksum is wrong")
    return str(kind.rstrip(b"\0").decode())


def _corrupt(path: Path, reason: str) -> CollectionCorrupt:
    return CollectionCorrupt(str(path), f"not a usable index: {reason}; build the index again")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _ChecksummedWriter:
    """Passes bytes on to a file, keeping count and checksum of them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.crc = 0
        self.length = 0

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.crc = zlib.crc32(chunk, self.crc)
        self.length += len(chunk)

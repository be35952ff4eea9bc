"""Index files: what FAISS writes, followed by a footer that tells a whole file from a damaged one.

FAISS reads the files as they are. It checks little of what it reads, so a damaged file could
crash the process; hence the checksum.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, get_args

from rag.core.errors import CollectionCorrupt, StorageError
from rag.core.extras import require
from rag.indexes.vectors import Codes, Kind

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")

_FIELDS = struct.Struct("<8s8s8sQI")  # magic, kind, codes, length of what FAISS wrote, its CRC-32
_CHECKSUM = struct.Struct("<I")  # CRC-32 of the fields
_FOOTER_SIZE = _FIELDS.size + _CHECKSUM.size
_MAGIC = b"ragvec02"
_CHUNK = 1 << 20


class StoredIndex(NamedTuple):
    """What an index file holds: the FAISS index, and the kind and codes that were asked for."""

    index: Any
    kind: Kind
    codes: Codes


def write_index(stored: StoredIndex, path: Path) -> None:
    """Write an index file; see `writing_index`.

    Raises:
        StorageError: The disk refused; what was at `path` before is intact.
    """
    with writing_index(path, stored.kind, stored.codes) as write:
        # FAISS's own writer misses an error on its last bytes, which a full disk gives.
        faiss.write_index(stored.index, faiss.PyCallbackIOWriter(write, _CHUNK))


@contextmanager
def writing_index(path: Path, kind: Kind, codes: Codes) -> Iterator[Callable[[bytes], None]]:
    """Write an index file under another name, make it durable, and move it into place.

    Yields:
        What writes the bytes of FAISS's own format; the footer follows when the block ends.

    Raises:
        StorageError: The disk refused; what was at `path` before is intact.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            body = _ChecksummedWriter(file)
            yield body.write
            fields = _FIELDS.pack(_MAGIC, kind.encode(), codes.encode(), body.length, body.crc)
            file.write(fields + _CHECKSUM.pack(zlib.crc32(fields)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StorageError(str(path), f"the index could not be saved: {error}") from error
        raise


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
            kind, codes = _check(file, path, whole=not mapped)
    except OSError as error:
        raise StorageError(str(path), f"the index could not be read: {error}") from error
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except (RuntimeError, MemoryError) as error:
        raise _corrupt(path, f"FAISS cannot read it ({error})") from error
    return StoredIndex(index, kind, codes)


def _check(file: BinaryIO, path: Path, *, whole: bool) -> tuple[Kind, Codes]:
    length = file.seek(0, os.SEEK_END) - _FOOTER_SIZE
    if length < 0:
        raise _corrupt(path, "it is too short to be an index")
    file.seek(length)
    fields, (footer_crc,) = file.read(_FIELDS.size), _CHECKSUM.unpack(file.read())
    magic, kind, codes, written, crc = _FIELDS.unpack(fields)
    if magic != _MAGIC or zlib.crc32(fields) != footer_crc:
        raise _corrupt(path, "it is cut short or not an index")
    if written != length:
        raise _corrupt(path, f"it holds {length} bytes of an index that has {written}")
    if whole and _crc(file, length) != crc:
        raise _corrupt(path, "its checksum is wrong")
    kind, codes = (name.rstrip(b"\0").decode() for name in (kind, codes))
    if kind not in get_args(Kind) or codes not in get_args(Codes):
        raise _corrupt(path, f"it is of a kind '{kind}' with codes '{codes}', which are not known")
    return kind, codes


def _crc(file: BinaryIO, length: int) -> int:
    """Return the CRC-32 of the first bytes of a file."""
    file.seek(0)
    crc = 0
    while length:
        chunk = file.read(min(_CHUNK, length))
        crc = zlib.crc32(chunk, crc)
        length -= len(chunk)
    return crc


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

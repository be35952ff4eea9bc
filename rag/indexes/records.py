"""How documents, texts and vectors are written down in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from rag.core.documents import Document, Metadata, Scalar
from rag.core.errors import CollectionCorrupt, InputError
from rag.core.protocols import Vectors
from rag.indexes.where_sql import storable

VectorDtype = Literal["float16", "float32"]

_HASH_BYTES = 16
HASHES = np.dtype(f"S{_HASH_BYTES}")
"""Hashes as an array's numbers."""

_METADATA = json.JSONEncoder(sort_keys=True, ensure_ascii=False)
_LARGEST_SQUARE = 1e37  # of a vector's length; scores of shorter ones are finite in float32


class DocumentRecord(NamedTuple):
    """A document as the store keeps it.

    Args:
        document: The document.
        metadata: Its metadata as JSON.
        fields: Each value of its metadata with the field's name; None for an empty list.
        content_hash: A hash of all that the collection returns of it.
    """

    document: Document
    metadata: str
    fields: tuple[tuple[str, Scalar], ...]
    content_hash: bytes

    @classmethod
    def of(cls, document: Document) -> DocumentRecord:
        """Write a document down.

        Raises:
            InputError: It holds something that the store cannot keep as it is.
        """
        fields = tuple(_fields(document))
        metadata = write_metadata(document.metadata)
        parts = [document.id, document.title, document.uri, metadata, document.text]
        for part in parts:
            if not storable(part):
                raise InputError(
                    f"document {document.id!r} holds half of a surrogate pair, which is no text; "
                    "decode it with errors='replace'"
                )
        # Lengths keep ('ab', 'c') and ('a', 'bc') apart.
        return cls(document, metadata, fields, hash_text(repr([*map(len, parts), *parts])))


def _fields(document: Document) -> list[tuple[str, Scalar]]:
    rows: list[tuple[str, Scalar]] = []
    for name, value in document.metadata.items():
        values = (value or [None]) if isinstance(value, list) else [value]
        for each in values:
            # Of all numbers, only NaN and the infinities have no JSON.
            if not (isinstance(name, str) and storable(name) and storable(each)) or (
                isinstance(each, float) and not np.isfinite(each)
            ):
                raise InputError(
                    f"document {document.id!r}: metadata {name!r} holds {each!r}; metadata are "
                    "names with strings, finite numbers of 64 bits, booleans, None, or flat lists "
                    "of them"
                )
            rows.append((name, each))
    return rows


def write_metadata(metadata: Metadata) -> str:
    """Return metadata as JSON, the same for equal metadata."""
    return _METADATA.encode(metadata)


def read_metadata(text: str) -> Metadata:
    """Return the metadata of a record."""
    metadata: Metadata = json.loads(text)
    return metadata


def hash_text(text: str) -> bytes:
    """Return the hash by which equal texts are recognised."""
    return hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).digest()


class VectorCodec(NamedTuple):
    """How vectors are stored.

    Args:
        dtype: The numbers' type.
        dimension: How many numbers a vector has.
    """

    dtype: VectorDtype
    dimension: int

    @property
    def size(self) -> int:
        """Bytes of one vector."""
        return self.dimension * np.dtype(self.dtype).itemsize

    def encode(self, vectors: Vectors) -> list[bytes]:
        """Return the bytes of each vector.

        Raises:
            InputError: The vectors have another dimension, or cannot be stored as finite numbers.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(
                f"vectors of shape {vectors.shape} cannot be stored; the collection's have "
                f"dimension {self.dimension}"
            )
        with np.errstate(over="ignore"):
            stored = vectors.astype(np.dtype(self.dtype).newbyteorder("<"))
        numbers = stored.astype(np.float32)
        # False for NaN too.
        if not (np.einsum("ij,ij->i", numbers, numbers) < _LARGEST_SQUARE).all():
            raise InputError(f"the embedder returned numbers that are too large for {self.dtype}")
        return [row.tobytes() for row in stored]

    def decode(self, blobs: Sequence[bytes], path: str) -> Vectors:
        """Return vectors from their bytes.

        Raises:
            CollectionCorrupt: There are too few or too many bytes.
        """
        if any(len(blob) != self.size for blob in blobs):
            raise CollectionCorrupt(
                path, f"a vector does not have {self.size} bytes; verify the collection"
            )
        flat = np.frombuffer(b"".join(blobs), np.dtype(self.dtype).newbyteorder("<"))
        return flat.reshape(-1, self.dimension).astype(np.float32)

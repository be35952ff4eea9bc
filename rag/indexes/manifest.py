"""The manifest: what a collection was built with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.core.errors import CollectionCorrupt, CollectionNotFound, ManifestMismatch, StorageError
from rag.core.protocols import Embedder
from rag.indexes.records import VectorCodec, VectorDtype
from rag.indexes.vectors import Kind

MANIFEST_NAME = "manifest.json"


class EmbedderManifest(BaseModel):
    """What decides the vectors that an embedder returns; the fields are those of `Embedder`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    revision: str
    dimension: int = Field(gt=0)
    max_tokens: int = Field(gt=0)
    query_prefix: str
    passage_prefix: str
    pooling: str
    normalized: bool

    @classmethod
    def of(cls, embedder: Embedder) -> Self:
        """Describe an embedder."""
        return cls(**{field: getattr(embedder, field) for field in cls.model_fields})


class Manifest(BaseModel):
    """What a collection was built with; fixed when it is created.

    Args:
        format: Version of the layout on disk.
        embedder: The embedder.
        metric: How vectors are compared.
        vector_dtype: How vectors are stored; the indexes compute in float32.
        index: Kind of the vector index.
        passage_tokens: Longest passage, in the embedder's tokens, special tokens included.
        overlap: Tokens that neighbouring passages share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    embedder: EmbedderManifest
    metric: Literal["inner_product"] = "inner_product"
    vector_dtype: VectorDtype = "float16"
    index: Kind = "flat"
    passage_tokens: int = Field(gt=0)
    overlap: int = Field(ge=0)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a collection.

        Raises:
            CollectionNotFound: There is none.
            CollectionCorrupt: It is not one that this version understands.
            StorageError: It cannot be read.
        """
        try:
            return cls.model_validate_json((folder / MANIFEST_NAME).read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CollectionNotFound(
                str(folder), "there is no collection here; create it first"
            ) from error
        except OSError as error:
            raise StorageError(str(folder), f"the manifest cannot be read: {error}") from error
        except ValidationError as error:
            raise CollectionCorrupt(
                str(folder), f"this version cannot use its {MANIFEST_NAME}: {error}"
            ) from error

    @property
    def codec(self) -> VectorCodec:
        """How vectors are stored."""
        return VectorCodec(self.vector_dtype, self.embedder.dimension)

    def write(self, folder: Path) -> None:
        """Write the manifest; its file is there whole or not at all."""
        write_atomically(folder / MANIFEST_NAME, self.model_dump_json(indent=2).encode() + b"\n")

    def check(self, folder: Path, embedder: Embedder) -> None:
        """Compare an embedder with the one that the collection was built with.

        Raises:
            ManifestMismatch: They differ; the error carries the first field that does.
        """
        given = EmbedderManifest.of(embedder)
        for field in EmbedderManifest.model_fields:
            here, there = getattr(self.embedder, field), getattr(given, field)
            if here != there:
                raise ManifestMismatch(str(folder), f"embedder.{field}", here, there)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one.

    Raises:
        StorageError: The disk refused.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(str(path), f"cannot be written: {error}") from error


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

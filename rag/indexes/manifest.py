"""The manifest: what a collection was built with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.core.errors import (
    CollectionCorrupt,
    CollectionNotFound,
    InputError,
    ManifestMismatch,
    StorageError,
)
from rag.core.protocols import Embedder
from rag.indexes.records import VectorCodec, VectorDtype
from rag.indexes.vectors import Codes, Kind
from rag.text.splitting import Splitter

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


class TunedIndex(BaseModel):
    """How the vector index is searched to reach a stated recall, and what it reached.

    Args:
        recall: The share of the true 10 nearest passages that searches are to find.
        measured: The share that they found for queries that the setting was not chosen by.
        queries: How many those were.
        passages: How many passages there were.
        index: What was built, in the words of FAISS.
        effort: How far a search goes; see `VectorIndex.effort`.
        oversampling: Candidates, as a multiple of the hits wanted, that are scored anew by their
            stored vectors; 1 where codes are exact.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recall: float = Field(gt=0, le=1)
    measured: float = Field(ge=0, le=1)
    queries: int = Field(gt=0)
    passages: int = Field(ge=0)
    index: str
    effort: int = Field(ge=0)
    oversampling: float = Field(ge=1)


class Manifest(BaseModel):
    """What a collection was built with; only `tuned` ever changes.

    Args:
        format: Version of the layout on disk.
        embedder: The embedder.
        metric: How vectors are compared.
        vector_dtype: How vectors are stored; the indexes compute in float32.
        index: Kind of the vector index.
        codes: How the vector index holds vectors.
        tuned: How it is searched, where a recall was asked for.
        passage_tokens: Longest passage, in the embedder's tokens, special tokens included.
        overlap: Tokens that neighbouring passages share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    embedder: EmbedderManifest
    metric: Literal["inner_product"] = "inner_product"
    vector_dtype: VectorDtype = "float16"
    index: Kind = "flat"
    codes: Codes = "float32"
    tuned: TunedIndex | None = None
    passage_tokens: int = Field(gt=0)
    overlap: int = Field(ge=0)

    @classmethod
    def of(
        cls,
        embedder: Embedder,
        *,
        index: Kind,
        codes: Codes,
        passage_tokens: int | None,
        overlap: int | None,
        vector_dtype: VectorDtype,
    ) -> Self:
        """Describe a new collection; the arguments are those of `Collection.create`.

        Raises:
            InputError: An argument cannot be used.
        """
        if index not in get_args(Kind):
            raise InputError(f"no index '{index}'; there are {', '.join(get_args(Kind))}")
        if codes not in get_args(Codes):
            raise InputError(f"no codes '{codes}'; there are {', '.join(get_args(Codes))}")
        if codes == "pq" and index != "ivf":
            raise InputError(f"codes 'pq' are for indexes of kind 'ivf', not '{index}'")
        if vector_dtype not in get_args(VectorDtype):
            raise InputError(f"no vector dtype '{vector_dtype}'; give float16 or float32")
        tokens = embedder.max_tokens if passage_tokens is None else passage_tokens
        if tokens > embedder.max_tokens:
            raise InputError(
                f"passages of {tokens} tokens are too long: the embedder reads "
                f"{embedder.max_tokens}"
            )
        manifest = cls(
            embedder=EmbedderManifest.of(embedder),
            vector_dtype=vector_dtype,
            index=index,
            codes=codes,
            passage_tokens=tokens,
            overlap=tokens // 16 if overlap is None else overlap,
        )
        # Sizes that leave no room are refused, too.
        Splitter.of_embedder(embedder, manifest.passage_tokens, manifest.overlap)
        return manifest

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

    def tuned_for(self, index: str) -> TunedIndex | None:
        """Return how an index is searched; None where none like it was tuned.

        Args:
            index: What was built, in the words of FAISS.
        """
        return self.tuned if self.tuned is not None and self.tuned.index == index else None

    @property
    def codec(self) -> VectorCodec:
        """How vectors are stored."""
        return VectorCodec(self.vector_dtype, self.embedder.dimension)

    def write(self, folder: Path) -> None:
        """Write the manifest; its file is there whole or not at all."""
        write_atomically(folder / MANIFEST_NAME, self.model_dump_json(indent=2).encode() + b"\n")

    def load_embedder(self, location: str | Path) -> Embedder:
        """Load the embedder that the collection was built with.

        Raises:
            ModelNotFound: It is not at hand.
            ManifestMismatch: What goes by its name now is another one.
        """
        from rag.models.registry import load_embedder

        embedder = load_embedder(
            self.embedder.name,
            query_prefix=self.embedder.query_prefix,
            passage_prefix=self.embedder.passage_prefix,
        )
        self.check(location, embedder)
        return embedder

    def check(self, location: str | Path, embedder: Embedder) -> None:
        """Compare an embedder with the one that the collection was built with.

        Raises:
            ManifestMismatch: They differ; the error carries the first field that does.
        """
        given = EmbedderManifest.of(embedder)
        for field in EmbedderManifest.model_fields:
            here, there = getattr(self.embedder, field), getattr(given, field)
            if here != there:
                raise ManifestMismatch(str(location), f"embedder.{field}", here, there)


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

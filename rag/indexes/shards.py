"""Files into shards: documents with their passages and vectors, each shard an export of its own.

A shard is named after what it is made of, so a unit of work that is done again finds the shards
that are there already, and two workers that do the same unit write the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag.core.documents import Document, Passage
from rag.core.errors import CollectionError
from rag.core.protocols import Embedder
from rag.indexes.indexing import batches
from rag.indexes.manifest import Manifest
from rag.indexes.records import HASHES, DocumentRecord, hash_text
from rag.indexes.sources import tagged
from rag.indexes.transfer import EXPORT_NAME, write_export
from rag.text import FoundFile, Skipped, Splitter
from rag.text.folders import read_found

_UNIT_FILES = 64
_UNIT_BYTES = 4_000_000
_SHARD_DOCUMENTS = 16_384
_SHARD_CHARACTERS = 4_000_000
_SUFFIX = ".shard"


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that one worker embeds in one go.

    Args:
        number: Where the unit comes among all.
        files: The files.
    """

    number: int
    files: tuple[FoundFile, ...]


@dataclass(frozen=True, slots=True)
class UnitReport:
    """What became of a unit.

    Args:
        shards: Names of the shards that hold its documents, in order.
        unchanged: Documents that the collection holds as they are.
        skipped: What gave no document.
    """

    shards: tuple[str, ...]
    unchanged: int
    skipped: tuple[Skipped, ...]


def units(files: Iterable[FoundFile]) -> Iterator[Unit]:
    """Group files into units; a large file is a unit of its own."""
    held: list[FoundFile] = []
    number = size = 0
    for file in files:
        held.append(file)
        size += file.path.stat().st_size if file.path.exists() else 0
        if len(held) >= _UNIT_FILES or size >= _UNIT_BYTES:
            yield Unit(number, tuple(held))
            held.clear()
            number, size = number + 1, 0
    if held:
        yield Unit(number, tuple(held))


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What shards are made with.

    Args:
        manifest: The manifest of the collection that they are for.
        folder: Where they go.
        known: The content hashes of the documents that the collection holds, sorted.
        sensitivity: The tags of documents that state none themselves.
    """

    manifest: Manifest
    folder: Path
    known: npt.NDArray[np.bytes_]
    sensitivity: tuple[str, ...] = ()


class ShardWriter:
    """Embeds units into shards, a few megabytes of text at a time.

    Args:
        embedder: Embeds the passages.
        plan: What shards are made with.

    Raises:
        InputError: The sizes of passages leave no room for text.
    """

    def __init__(self, embedder: Embedder, plan: ShardPlan) -> None:
        self._embedder = embedder
        self._plan = plan
        manifest = plan.manifest
        self._splitter = Splitter.of_embedder(embedder, manifest.passage_tokens, manifest.overlap)

    def write(self, unit: Unit) -> UnitReport:
        """Write the shards of a unit; those that are there already are left as they are.

        Raises:
            InputError: A document cannot be stored or embedded.
            StorageError: The disk refused.
        """
        skipped: list[Skipped] = []
        shards: list[str] = []
        unchanged = 0
        documents = self._documents(unit, skipped)
        for batch in batches(documents, _SHARD_DOCUMENTS, _SHARD_CHARACTERS):
            records = [DocumentRecord.of(document) for document in batch]
            fresh = self._fresh(records)
            unchanged += len(records) - len(fresh)
            if fresh:
                shards.append(self._write(fresh))
        return UnitReport(tuple(shards), unchanged, tuple(skipped))

    def _documents(self, unit: Unit, skipped: list[Skipped]) -> Iterator[Document]:
        for item in read_found(unit.files):
            if isinstance(item, Skipped):
                skipped.append(item)
            else:
                yield tagged(item, self._plan.sensitivity)

    def _fresh(self, records: Sequence[DocumentRecord]) -> list[DocumentRecord]:
        """Return those that the collection does not hold as they are."""
        known = self._plan.known
        if not len(known):
            return list(records)
        hashes = np.array([each.content_hash for each in records], HASHES)
        places = np.searchsorted(known, hashes).clip(max=len(known) - 1)
        return [each for each, new in zip(records, known[places] != hashes, strict=True) if new]

    def _write(self, records: Sequence[DocumentRecord]) -> str:
        """Write a shard, if it is not there, and return its name."""
        name = self._name(records)
        folder = self._plan.folder / name
        if not is_whole(folder):
            documents = [each.document for each in records]
            split = self._splitter.split(documents)
            vectors = self._embed(split)
            try:
                write_export(
                    zip(documents, split, vectors, strict=True), self._plan.manifest, folder
                )
            except CollectionError:
                # Another worker, taken for dead, may have written the same shard meanwhile.
                if not is_whole(folder):
                    raise
        return name

    def _name(self, records: Sequence[DocumentRecord]) -> str:
        manifest = self._plan.manifest
        made_with = repr(
            (
                manifest.embedder.model_dump_json(),
                manifest.vector_dtype,
                manifest.passage_tokens,
                manifest.overlap,
            )
        )
        content = b"".join((made_with.encode(), *(each.content_hash for each in records)))
        return hashlib.blake2b(content, digest_size=16).hexdigest() + _SUFFIX

    def _embed(self, split: Sequence[Sequence[Passage]]) -> list[list[bytes]]:
        """Return the bytes of each passage's vector; equal texts are embedded once."""
        hashes = [[hash_text(each.indexed_text) for each in passages] for passages in split]
        texts = {
            text_hash: passage.indexed_text
            for passages, of_one in zip(split, hashes, strict=True)
            for passage, text_hash in zip(passages, of_one, strict=True)
        }
        vectors = self._embedder.embed_passages(list(texts.values()))
        blobs = dict(zip(texts, self._plan.manifest.codec.encode(vectors), strict=True))
        return [[blobs[text_hash] for text_hash in of_one] for of_one in hashes]


def is_whole(folder: Path) -> bool:
    """Say whether a shard is there."""
    return (folder / EXPORT_NAME).exists()


def shards_in(folder: Path) -> list[Path]:
    """Return the shards in a folder, and what was left of some that were not finished."""
    return sorted(folder.glob(f"*{_SUFFIX}*"))

"""Collections as Parquet files, for other tools and for moving house without embedding again.

An export is a directory with `documents-*.parquet`, `passages-*.parquet`, whose rows carry the
vectors and follow the order of the documents, and `export.json`: the collection's manifest and how
many rows there are. It is written under another name and renamed, so it is whole or not there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.core.documents import Document, Passage
from rag.core.errors import CollectionCorrupt, CollectionError, DataError, StorageError
from rag.core.protocols import Vectors
from rag.indexes.manifest import Manifest, sync_folder
from rag.indexes.parquet import Columns, TableWriter, read_table
from rag.indexes.records import read_metadata, write_metadata
from rag.indexes.snapshot import Snapshot

EXPORT_NAME = "export.json"

_DOCUMENTS: Columns = {"id": str, "text": str, "title": str, "uri": str, "metadata": str}


class Export(BaseModel):
    """What an export holds.

    Args:
        manifest: The collection's.
        documents: Rows of `documents-*.parquet`.
        passages: Rows of `passages-*.parquet`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: Manifest
    documents: int = Field(ge=0)
    passages: int = Field(ge=0)

    @classmethod
    def read(cls, folder: Path) -> Export:
        """Read what an export holds.

        Raises:
            DataError: The folder holds no whole export.
        """
        path = folder / EXPORT_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(str(path), f"this is no whole export: {error}") from error

    def contents(self, folder: Path) -> Iterator[tuple[Document, list[Passage], Vectors]]:
        """Yield the documents of an export in order, one at a time.

        Args:
            folder: Where the export is.

        Returns:
            Each document with its passages and their vectors, of the manifest's dtype and of shape
            (passages, dimension).

        Raises:
            DataError: The export contradicts itself.
            MissingExtra: pyarrow is not installed.
        """
        columns = _passage_columns(self.manifest)
        groups = groupby(read_table(folder, "passages", columns), key=lambda row: row[1])
        name, rows = next(groups, (None, iter(())))
        documents = passages = 0
        for document in _documents(folder):
            found: list[tuple[Any, ...]] = []
            if name == document.id:
                found = list(rows)
                name, rows = next(groups, (None, iter(())))
            documents += 1
            passages += len(found)
            yield document, [_passage(document, row, folder) for row in found], self._vectors(found)
        if (documents, passages) != (self.documents, self.passages):
            raise DataError(
                str(folder),
                f"{documents} documents with {passages} passages are there, but "
                f"{self.documents} with {self.passages} were exported",
            )

    def _vectors(self, rows: Sequence[tuple[Any, ...]]) -> Vectors:
        codec = self.manifest.codec
        vectors = np.empty((len(rows), codec.dimension), codec.dtype)
        for number, row in enumerate(rows):
            vectors[number] = row[-1]
        return vectors


def write_export(
    contents: Iterable[tuple[Document, Sequence[Passage], Sequence[bytes]]],
    manifest: Manifest,
    folder: Path,
) -> Export:
    """Write documents with their passages and vectors to a directory.

    Args:
        contents: Documents, the passages of each, and the bytes of each passage's vector, as the
            manifest's codec writes them; read once, never all held.
        manifest: What they were made with.
        folder: A directory that does not exist or is empty, and can be renamed to: no mount point.

    Returns:
        What was written.

    Raises:
        CollectionError: The folder holds something.
        MissingExtra: pyarrow is not installed.
        StorageError: The disk refused.
    """
    with _appearing_whole(folder) as partial:
        with (
            TableWriter(partial, "documents", _DOCUMENTS) as documents,
            TableWriter(partial, "passages", _passage_columns(manifest)) as passages,
        ):
            for document, split, vectors in contents:
                metadata = write_metadata(document.metadata)
                documents.add(document.id, document.text, document.title, document.uri, metadata)
                for p, vector in zip(split, vectors, strict=True):
                    passages.add(
                        p.id, document.id, p.text, p.start, p.end, p.title, p.heading, vector
                    )
        export = Export(manifest=manifest, documents=documents.rows, passages=passages.rows)
        (partial / EXPORT_NAME).write_text(export.model_dump_json(indent=2), "utf-8")
    return export


def export_snapshot(snapshot: Snapshot, manifest: Manifest, folder: Path) -> None:
    """Write all that a snapshot shows to a directory; see `Collection.export`."""
    write_export(_stored(snapshot), manifest, folder)


def _stored(snapshot: Snapshot) -> Iterator[tuple[Document, list[Passage], list[bytes]]]:
    for document, stored in snapshot.contents():
        vectors = [each.vector for each in stored if each.vector is not None]
        if len(vectors) < len(stored):
            raise CollectionCorrupt(
                snapshot.path,
                f"passages of {document.id!r} have no vector; restore it from a backup",
            )
        yield document, [each.passage for each in stored], vectors


@contextmanager
def _appearing_whole(folder: Path) -> Iterator[Path]:
    """Yield a directory that takes a folder's name when the block ends, synced, and else goes."""
    folder = folder.absolute()
    # A name of its own: of two that write the same folder, one comes first and both are whole.
    partial = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.partial")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise CollectionError(str(folder), "is not empty; export to another directory")
        partial.mkdir(parents=True)
        try:
            yield partial
            for file in partial.iterdir():
                _sync(file)
            sync_folder(partial)
            partial.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise StorageError(str(folder), f"the export cannot be written: {error}") from error


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _passage_columns(manifest: Manifest) -> Columns:
    return {
        "id": str,
        "document_id": str,
        "text": str,
        "start": int,
        "end": int,
        "title": str,
        "heading": str,
        "vector": manifest.codec,
    }


def _documents(folder: Path) -> Iterator[Document]:
    for *columns, metadata in read_table(folder, "documents", _DOCUMENTS):
        name, text, title, uri = columns
        yield Document(name, text, title, uri, read_metadata(metadata))


def _passage(document: Document, row: tuple[Any, ...], folder: Path) -> Passage:
    name, _, text, start, end, title, heading, _ = row
    if document.text[start:end] != text:
        raise DataError(str(folder), f"passage {name!r} is not at its place in the text")
    return Passage(
        name, document.id, text, start, end, title, heading, document.uri, document.metadata
    )

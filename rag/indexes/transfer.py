"""Collections as Parquet files, for other tools and for moving house without embedding again.

An export is a directory with `documents-*.parquet`, `passages-*.parquet`, whose rows carry the
vectors and follow the order of the documents, and `export.json`, written last: the collection's
manifest and how many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag.core.documents import Document, Passage
from rag.core.errors import CollectionError, DataError, StorageError
from rag.indexes.indexing import batches
from rag.indexes.manifest import Manifest, write_atomically
from rag.indexes.parquet import Columns, TableWriter, read_table
from rag.indexes.records import DocumentRecord, hash_text, read_metadata, write_metadata
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store
from rag.indexes.transaction import Transaction

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


def export_snapshot(snapshot: Snapshot, manifest: Manifest, folder: Path) -> None:
    """Write all that a snapshot shows to a directory; see `Collection.export`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CollectionError(str(folder), "is not empty; export to another directory")
        with (
            TableWriter(folder, "documents", _DOCUMENTS) as documents,
            TableWriter(folder, "passages", _passage_columns(manifest)) as passages,
        ):
            for document, stored in snapshot.contents():
                metadata = write_metadata(document.metadata)
                documents.add(document.id, document.text, document.title, document.uri, metadata)
                for p, _, vector in stored:
                    passages.add(
                        p.id, document.id, p.text, p.start, p.end, p.title, p.heading, vector
                    )
    except OSError as error:
        raise StorageError(str(folder), f"the export cannot be written: {error}") from error
    export = Export(manifest=manifest, documents=documents.rows, passages=passages.rows)
    write_atomically(folder / EXPORT_NAME, export.model_dump_json(indent=2).encode())


def import_into(store: Store, export: Export, folder: Path) -> None:
    """Fill an empty store from an export; see `Collection.import_`.

    Raises:
        DataError: The export contradicts itself.
        StorageError: The disk refused.
    """
    rows = read_table(folder, "passages", _passage_columns(export.manifest))
    groups = groupby(rows, key=lambda row: row[1])
    group: tuple[str, Iterator[tuple[Any, ...]]] | None = next(groups, None)
    documents = passages = 0
    for batch in batches(_documents(folder)):
        with store.write() as transaction:
            for document in batch:
                found = []
                if group is not None and group[0] == document.id:
                    found = list(group[1])
                    group = next(groups, None)
                _add(transaction, document, found, folder)
                documents += 1
                passages += len(found)
    if (documents, passages) != (export.documents, export.passages):
        raise DataError(
            str(folder),
            f"{documents} documents with {passages} passages are there, but "
            f"{export.documents} with {export.passages} were exported",
        )


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


def _add(
    transaction: Transaction, document: Document, rows: list[tuple[Any, ...]], folder: Path
) -> None:
    passages = [Passage(*columns) for *columns, _ in rows]
    for passage in passages:
        if document.text[passage.start : passage.end] != passage.text:
            raise DataError(str(folder), f"passage {passage.id!r} is not at its place in the text")
    hashes = [hash_text(passage.indexed_text) for passage in passages]
    vectors = {each: row[-1] for each, row in zip(hashes, rows, strict=True)}
    ids = transaction.vector_ids(vectors)
    if new := [each for each in vectors if each not in ids]:
        ids |= transaction.add_vectors(new, np.array([vectors[each] for each in new], np.float32))
    transaction.add_document(DocumentRecord.of(document), passages, [ids[each] for each in hashes])

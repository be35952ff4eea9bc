"""The rows of a collection on Milvus.

Milvus has no transactions. A document's change is written in the order: new passages, removal of
the old ones, new record, removal of the old record. So a record that is there once, with the hash
of the document's content, says that its passages are there, too; after a kill at any point the
same `replace` again leaves the document as it has to be. Numbers rise with time, which tells new
rows from old ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import ValidationError

from rag.core.documents import Passage
from rag.core.errors import CollectionCorrupt, CollectionExists, CollectionNotFound
from rag.core.protocols import Vectors
from rag.indexes.manifest import Manifest
from rag.indexes.milvus.client import Connection
from rag.indexes.milvus.location import MilvusLocation
from rag.indexes.milvus.reader import MilvusReader, matching, portions
from rag.indexes.milvus.rows import document_row, key_of, passage_row
from rag.indexes.milvus.schema import (
    DOCUMENTS,
    PASSAGES,
    document_indexes,
    document_table,
    passage_indexes,
    passage_table,
)
from rag.indexes.records import DocumentRecord, hash_text

_MANIFEST, _CHANGED = "ragmeter.manifest", "ragmeter.changed"
_KEYS_AT_ONCE = 1_000
_ROWS_AT_ONCE = 256


class MilvusStore(MilvusReader):
    """Reads and writes the rows of one collection; one thread at a time may write.

    Args:
        connection: The connection; the store closes it.
        manifest: What the collection was built with.
    """

    def __init__(self, connection: Connection, manifest: Manifest) -> None:
        super().__init__(connection, manifest)
        self._last_number = 0

    @classmethod
    def open(cls, location: MilvusLocation) -> MilvusStore:
        """Open the tables of a collection.

        Raises:
            CollectionNotFound: There is no collection.
            CollectionCorrupt: Another version wrote it.
            StorageError: Milvus refused.
        """
        connection = Connection(location)
        try:
            return cls(connection, _read_manifest(connection))
        except BaseException:
            connection.close()
            raise

    @classmethod
    def create(
        cls,
        location: MilvusLocation,
        manifest: Manifest,
        fill: Callable[[MilvusStore], None] = lambda _: None,
    ) -> MilvusStore:
        """Create the tables of a collection.

        Args:
            location: Where.
            manifest: What it is built with.
            fill: Writes its first rows; if that fails, there is no collection.

        Raises:
            CollectionExists: There are such tables.
            StorageError: Milvus refused.
        """
        connection = Connection(location, create=True)
        try:
            for table in (DOCUMENTS, PASSAGES):
                if connection.call("has_collection", table):
                    raise CollectionExists(
                        str(location), f"Milvus has '{location.name}_{table}'; choose another name"
                    )
            try:
                _create_tables(connection, manifest)
                store = cls(connection, manifest)
                fill(store)
                store._set_properties({_MANIFEST: manifest.model_dump_json()})
            except BaseException:
                for table in (PASSAGES, DOCUMENTS):
                    connection.call("drop_collection", table)
                raise
        except BaseException:
            connection.close()
            raise
        return store

    @property
    def changed(self) -> int:
        """When the collection last changed, in microseconds since 1970; 0 if never."""
        return int(_properties(self._connection).get(_CHANGED, 0))

    def replace(
        self,
        records: Sequence[DocumentRecord],
        split: Sequence[Sequence[Passage]],
        vectors: Mapping[bytes, Vectors],
    ) -> int:
        """Write documents in the place of those of the same ids.

        Args:
            records: The documents, each once.
            split: The passages of each.
            vectors: The vector of each passage, by the hash of its text.

        Returns:
            How many replaced another one.

        Raises:
            InputError: Something is too long for Milvus; nothing is written.
            StorageError: Milvus refused; the same call again mends what is half done.
        """
        keys = [key_of(each.document.id) for each in records]
        stored = self.records(keys)
        newest = max((each.number for each in stored.values()), default=0)
        first = number = self._numbers_from(newest + 1, sum(map(len, split)) + len(records))
        documents, passages = [], []
        for record, pieces in zip(records, split, strict=True):
            own = number + len(pieces)
            documents.append(document_row(record, own, len(pieces)))
            for piece in pieces:
                vector = vectors[hash_text(piece.indexed_text)]
                passages.append(passage_row(record, piece, vector, number=number, document=own))
                number += 1
            number += 1
        for table, rows in ((PASSAGES, passages), (DOCUMENTS, documents)):
            for portion in portions(rows, _ROWS_AT_ONCE):
                self._connection.call("insert", table, data=portion)
            self._remove_keys(table, keys, before=first)
        self._note_change()
        return len(stored)

    def remove(self, document_ids: Sequence[str]) -> int:
        """Remove documents with their passages, and return how many there were."""
        keys = [key_of(each) for each in document_ids]
        removed = len(self.records(keys))
        # Records first: whatever is left of a document without one is removed when it comes again.
        for table in (DOCUMENTS, PASSAGES):
            self._remove_keys(table, keys)
        self._note_change()
        return removed

    def remove_matching(self, expression: str) -> int:
        """Remove the documents that match, with their passages, and return how many there were."""
        removed = self.count(DOCUMENTS, expression)
        for table in (DOCUMENTS, PASSAGES):
            self._connection.call("delete", table, filter=expression)
        self._note_change()
        return removed

    def remove_numbers(self, table: str, numbers: Iterable[int]) -> None:
        """Remove rows by their numbers."""
        for portion in portions(numbers, _KEYS_AT_ONCE):
            self._connection.call("delete", table, ids=portion)

    def compact(self) -> None:
        """Ask Milvus to give back the room of removed rows; it does so when it sees fit."""
        for table in (DOCUMENTS, PASSAGES):
            self._connection.call("flush", table)
            self._connection.call("compact", table)

    def _remove_keys(self, table: str, keys: Iterable[str], before: int | None = None) -> None:
        for portion in portions(keys, _KEYS_AT_ONCE):
            expression = matching("key", portion)
            if before is not None:
                expression += f" and number < {before}"
            self._connection.call("delete", table, filter=expression)

    def _numbers_from(self, least: int, count: int) -> int:
        """Return the first of numbers that no row has; microseconds, so that they rise."""
        first = max(time.time_ns() // 1000, self._last_number + 1, least)
        self._last_number = first + count - 1
        return first

    def _note_change(self) -> None:
        self._set_properties({_CHANGED: str(self._numbers_from(0, 1))})

    def _set_properties(self, properties: Mapping[str, str]) -> None:
        self._connection.call("alter_collection_properties", PASSAGES, properties=properties)


def _properties(connection: Connection) -> Mapping[str, str]:
    found: Mapping[str, str] = connection.call("describe_collection", PASSAGES)["properties"]
    return found


def _read_manifest(connection: Connection) -> Manifest:
    location = str(connection.location)
    # It is written last: with it, the collection exists.
    there = connection.call("has_collection", PASSAGES)
    written = _properties(connection).get(_MANIFEST) if there else None
    if written is None:
        raise CollectionNotFound(location, "there is no collection here; create it first")
    try:
        return Manifest.model_validate_json(written)
    except ValidationError as error:
        raise CollectionCorrupt(
            location, f"this version cannot use its manifest: {error}"
        ) from error


def _create_tables(connection: Connection, manifest: Manifest) -> None:
    lite = connection.location.lite is not None
    for table, schema, indexes in (
        (DOCUMENTS, document_table(), document_indexes(lite=lite)),
        (
            PASSAGES,
            passage_table(manifest.embedder.dimension),
            passage_indexes(manifest, lite=lite),
        ),
    ):
        # Strong: a search sees what was written before it, by whichever process.
        connection.call("create_collection", table, schema=schema, consistency_level="Strong")
        # Loading waits for the indexes anyway.
        connection.call("create_index", table, index_params=indexes, sync=False)

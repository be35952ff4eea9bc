"""Changing the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from rag.core.documents import Passage
from rag.core.filters import Condition
from rag.core.protocols import Vectors
from rag.indexes.records import DocumentRecord, VectorCodec
from rag.indexes.snapshot import Snapshot
from rag.indexes.where_sql import compile_where


class Transaction(Snapshot):
    """A change of the store that others see whole, at a new generation, or not at all.

    Args:
        connection: A connection inside a transaction that may write.
        codec: How vectors are stored.
        path: The store's path, for errors.
    """

    def __init__(self, connection: sqlite3.Connection, codec: VectorCodec, path: str) -> None:
        connection.execute("UPDATE state SET generation = generation + 1")
        super().__init__(connection, codec, path)

    def add_vectors(self, text_hashes: Sequence[bytes], vectors: Vectors) -> dict[bytes, int]:
        """Store the vectors of texts, none of which is stored, and return their ids."""
        ids = self._new_ids("vectors", len(text_hashes))
        self._connection.executemany(
            "INSERT INTO vectors (id, text_hash, vector) VALUES (?, ?, ?)",
            zip(ids, text_hashes, self.codec.encode(vectors), strict=True),
        )
        return dict(zip(text_hashes, ids, strict=True))

    def add_documents(
        self,
        records: Sequence[DocumentRecord],
        split: Sequence[Sequence[Passage]],
        vector_ids: Sequence[Sequence[int]],
    ) -> None:
        """Store documents and their passages.

        Args:
            records: The documents; none of these names is stored.
            split: The passages of each.
            vector_ids: The id of each passage's vector.
        """
        numbers = self._new_ids("documents", len(records))
        # A statement for all rows of a table: many small ones take twice as long.
        self._connection.executemany(
            "INSERT INTO documents (id, name, title, uri, metadata, content_hash, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (number, d.id, d.title, d.uri, record.metadata, record.content_hash, d.text)
                for number, record in zip(numbers, records, strict=True)
                for d in (record.document,)
            ),
        )
        self._connection.executemany(
            "INSERT INTO fields (document_id, name, value) VALUES (?, ?, ?)",
            (
                (number, name, value)
                for number, record in zip(numbers, records, strict=True)
                for name, value in record.fields
            ),
        )
        self._connection.executemany(
            "INSERT INTO passages (document_id, vector_id, generation, name, start, "
            '"end", title, heading, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
            (
                (number, vector, self.generation, p.id, p.start, p.end, p.title, p.heading, p.text)
                for number, passages, ids in zip(numbers, split, vector_ids, strict=True)
                for p, vector in zip(passages, ids, strict=True)
            ),
        )

    def remove_documents(self, names: Iterable[str]) -> int:
        """Remove documents with their passages; names that are not stored are passed over.

        Returns:
            How many documents were removed.
        """
        return sum(self._remove("documents.name = ?", name) for name in names)

    def remove_matching(self, condition: Condition) -> int:
        """Remove the documents that match a filter and return how many they were."""
        where = compile_where(condition)
        return self._remove(where.text, *where.parameters)

    def prune(self) -> None:
        """Drop the vectors that no passage uses, and the list of what was removed."""
        self.execute("DELETE FROM vectors WHERE id NOT IN (SELECT vector_id FROM passages)")
        self.execute("DELETE FROM removed WHERE generation < ?", (self.generation,))
        # What this transaction removes stays listed, so an index at the one before can follow.
        self.execute("UPDATE state SET pruned = generation - 1")

    def _remove(self, where: str, *parameters: object) -> int:
        self.execute(
            "INSERT INTO removed (passage_id, generation) SELECT passages.id, ? FROM passages "
            f"JOIN documents ON documents.id = passages.document_id WHERE {where}",
            (self.generation, *parameters),
        )
        return self.execute(f"DELETE FROM documents WHERE {where}", parameters).rowcount

    def _new_ids(self, table: str, count: int) -> range:
        (last,) = self.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        return range(last + 1, last + 1 + count)

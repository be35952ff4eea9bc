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
        """Store the vectors of texts and return their ids."""
        return {
            text_hash: self._insert(
                "INSERT INTO vectors (text_hash, vector) VALUES (?, ?)", text_hash, blob
            )
            for text_hash, blob in zip(text_hashes, self.codec.encode(vectors), strict=True)
        }

    def add_document(
        self, record: DocumentRecord, passages: Sequence[Passage], vector_ids: Sequence[int]
    ) -> None:
        """Store a document and its passages.

        Args:
            record: The document; none of that name is stored.
            passages: Its passages.
            vector_ids: The id of each passage's vector.
        """
        document = record.document
        number = self._insert(
            "INSERT INTO documents (name, title, uri, metadata, content_hash, text) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            document.id,
            document.title,
            document.uri,
            record.metadata,
            record.content_hash,
            document.text,
        )
        self._connection.executemany(
            "INSERT INTO fields (document_id, name, value) VALUES (?, ?, ?)",
            ((number, name, value) for name, value in record.fields),
        )
        self._connection.executemany(
            "INSERT INTO passages (document_id, vector_id, generation, name, start, "
            '"end", title, heading, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
            (
                (
                    number,
                    vector_id,
                    self.generation,
                    each.id,
                    each.start,
                    each.end,
                    each.title,
                    each.heading,
                    each.text,
                )
                for each, vector_id in zip(passages, vector_ids, strict=True)
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
        self.execute("DELETE FROM removed")
        self.execute("UPDATE state SET pruned = generation")

    def _remove(self, where: str, *parameters: object) -> int:
        self.execute(
            "INSERT INTO removed (passage_id, generation) SELECT passages.id, ? FROM passages "
            f"JOIN documents ON documents.id = passages.document_id WHERE {where}",
            (self.generation, *parameters),
        )
        return self.execute(f"DELETE FROM documents WHERE {where}", parameters).rowcount

    def _insert(self, sql: str, *values: object) -> int:
        number = self.execute(sql, values).lastrowid
        assert number is not None  # noqa: S101 - every INSERT of one row sets it
        return number

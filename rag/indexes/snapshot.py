"""Reading the store as it is at one generation."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rag.core.documents import Document, Metadata, Passage
from rag.core.filters import Condition
from rag.core.protocols import Vectors
from rag.indexes.records import HASHES, VectorCodec, read_metadata
from rag.indexes.vectors import IntArray
from rag.indexes.where_sql import Sql, compile_where

_BATCH = 4096
"""Rows held at a time when many are read."""

_PASSAGE = """passages.id, passages.name, documents.name, passages.text, passages.start,
    passages."end", passages.title, passages.heading, documents.uri, documents.metadata"""
_PASSAGES = f"""SELECT {_PASSAGE} FROM passages
    JOIN documents ON documents.id = passages.document_id"""


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A stored document without its text.

    Args:
        id: Name of the document.
        title: Its title.
        uri: Where it came from.
        metadata: Its metadata.
    """

    id: str
    title: str = ""
    uri: str = ""
    metadata: Metadata = field(default_factory=dict)


class StoredPassage(NamedTuple):
    """A passage and its vector.

    Args:
        passage: The passage.
        text_hash: The hash of the text that the vector is of; None if there is no vector.
        vector: The vector's bytes; None if there is none.
    """

    passage: Passage
    text_hash: bytes | None
    vector: bytes | None


class Counts(NamedTuple):
    """How much there is in the store."""

    documents: int
    passages: int
    vectors: int


class Snapshot:
    """The store at one generation; nothing that others commit shows.

    Args:
        connection: A connection inside a transaction.
        codec: How vectors are stored.
        path: The store's path, for errors.

    Attributes:
        codec: How vectors are stored.
        path: The store's path.
        generation: How many transactions made the store what it is.
        pruned: Up to this generation, what was removed is no longer known.
    """

    def __init__(self, connection: sqlite3.Connection, codec: VectorCodec, path: str) -> None:
        self._connection = connection
        self.codec = codec
        self.path = path
        self.generation: int
        self.pruned: int
        self.generation, self.pruned = connection.execute(
            "SELECT generation, pruned FROM state"
        ).fetchone()

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run a statement inside the transaction."""
        return self._connection.execute(sql, parameters)

    def counts(self) -> Counts:
        """Count."""
        return Counts(
            *self.execute(
                "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM passages), "
                "(SELECT count(*) FROM vectors)"
            ).fetchone()
        )

    def passages(self, ids: Iterable[int]) -> dict[int, Passage]:
        """Return the passages with these ids."""
        # One parameter, so that one prepared statement serves any number of ids.
        rows = self.execute(
            f"{_PASSAGES} WHERE passages.id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        )
        return dict(map(_passage, rows))

    def document(self, name: str) -> Document | None:
        """Return a document, None if there is none of that name."""
        row = self.execute(
            "SELECT name, text, title, uri, metadata FROM documents WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        name, text, title, uri, metadata = row
        return Document(name, text, title, uri, read_metadata(metadata))

    def documents(self, condition: Condition | None = None) -> Iterator[DocumentInfo]:
        """Yield the documents that match, in the order in which they were added."""
        where = _where(condition)
        for name, title, uri, metadata in self.execute(
            f"SELECT name, title, uri, metadata FROM documents WHERE {where.text} ORDER BY id",
            where.parameters,
        ):
            yield DocumentInfo(name, title, uri, read_metadata(metadata))

    def document_page(self, limit: int, after: int) -> tuple[list[DocumentInfo], int | None]:
        """Return documents that come after a place, and the place of the last if more follow."""
        rows = self.execute(
            "SELECT id, name, title, uri, metadata FROM documents WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit + 1),
        ).fetchall()
        page = [
            DocumentInfo(name, title, uri, read_metadata(metadata))
            for _, name, title, uri, metadata in rows[:limit]
        ]
        return page, rows[limit - 1][0] if len(rows) > limit else None

    def contents(self) -> Iterator[tuple[Document, list[StoredPassage]]]:
        """Yield everything, a document at a time, in the order in which they were added."""
        for number, name, text, title, uri, metadata in self.execute(
            "SELECT id, name, text, title, uri, metadata FROM documents ORDER BY id"
        ):
            rows = self.execute(
                f"SELECT {_PASSAGE}, text_hash, vector FROM passages "
                "JOIN documents ON documents.id = passages.document_id "
                "LEFT JOIN vectors ON vectors.id = passages.vector_id "
                "WHERE passages.document_id = ? ORDER BY passages.id",
                (number,),
            )
            yield (
                Document(name, text, title, uri, read_metadata(metadata)),
                [StoredPassage(_passage(row[:-2])[1], *row[-2:]) for row in rows],
            )

    def content_hashes(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the content hashes of those documents that are stored."""
        return self._look_up("SELECT content_hash FROM documents WHERE name = ?", names)

    def all_content_hashes(self) -> npt.NDArray[np.bytes_]:
        """Return the content hashes of all documents, sorted."""
        rows = self.execute("SELECT content_hash FROM documents")
        return np.sort(np.fromiter((content_hash for (content_hash,) in rows), HASHES))

    def vector_ids(self, text_hashes: Iterable[bytes]) -> dict[bytes, int]:
        """Return the ids of those texts' vectors that are stored."""
        return self._look_up("SELECT id FROM vectors WHERE text_hash = ?", text_hashes)

    def ids(self, condition: Condition | None = None) -> IntArray:
        """Return the ids of the passages of matching documents, ascending."""
        where = _where(condition)
        return self._numbers(
            "SELECT id FROM passages WHERE document_id IN "
            f"(SELECT id FROM documents WHERE {where.text}) ORDER BY id"
            if condition
            else "SELECT id FROM passages ORDER BY id",
            *where.parameters,
        )

    def count_added(self, since: int) -> int:
        """Count the passages that came after a generation."""
        number: int
        (number,) = self.execute(
            "SELECT count(*) FROM passages WHERE generation > ?", (since,)
        ).fetchone()
        return number

    def added(self, since: int) -> Iterator[tuple[int, Passage]]:
        """Yield ids and passages that came after a generation."""
        yield from map(
            _passage,
            self.execute(
                f"{_PASSAGES} WHERE passages.generation > ? ORDER BY passages.generation", (since,)
            ),
        )

    def added_vectors(self, since: int) -> Iterator[tuple[IntArray, Vectors]]:
        """Yield ids and vectors of the passages that came after a generation, in batches."""
        yield from self._vectors("WHERE passages.generation > ? ORDER BY generation", since)

    def sample_vectors(self, size: int) -> tuple[IntArray, Vectors]:
        """Return ids and vectors of passages drawn by chance, the same ones each time."""
        ids = self.ids()
        if len(ids) > size:
            ids = np.sort(np.random.default_rng(0).choice(ids, size, replace=False))
        vectors = np.empty((len(ids), self.codec.dimension), np.float32)
        done = 0
        for found, batch in self._vectors(
            "WHERE passages.id IN (SELECT value FROM json_each(?))", json.dumps(ids.tolist())
        ):
            ids[done : done + len(found)] = found
            vectors[done : done + len(found)] = batch
            done += len(found)
        return ids[:done], vectors[:done]

    def vectors(self, ids: IntArray) -> tuple[IntArray, Vectors]:
        """Return ids, ascending, and vectors of those of the passages that are stored."""
        found = [(np.empty(0, np.int64), np.empty((0, self.codec.dimension), np.float32))]
        found += self._vectors(
            "WHERE passages.id IN (SELECT value FROM json_each(?)) ORDER BY passages.id",
            json.dumps(ids.tolist()),
        )
        known, vectors = zip(*found, strict=True)
        return np.concatenate(known), np.concatenate(vectors)

    def removed(self, since: int) -> IntArray:
        """Return the ids of the passages that were removed after a generation."""
        return self._numbers("SELECT passage_id FROM removed WHERE generation > ?", since)

    def _vectors(self, where: str, parameter: object) -> Iterator[tuple[IntArray, Vectors]]:
        cursor = self.execute(
            "SELECT passages.id, vector FROM passages "
            f"JOIN vectors ON vectors.id = passages.vector_id {where}",
            (parameter,),
        )
        while rows := cursor.fetchmany(_BATCH):
            ids, blobs = zip(*rows, strict=True)
            yield np.array(ids, np.int64), self.codec.decode(blobs, self.path)

    def _look_up(self, sql: str, keys: Iterable[Any]) -> dict[Any, Any]:
        rows = ((key, self.execute(sql, (key,)).fetchone()) for key in keys)
        return {key: row[0] for key, row in rows if row is not None}

    def _numbers(self, sql: str, *parameters: object) -> IntArray:
        rows = self.execute(sql, parameters)
        return np.fromiter((number for (number,) in rows), np.int64)


def _passage(row: Any) -> tuple[int, Passage]:
    number, name, document, text, start, end, title, heading, uri, metadata = row
    return number, Passage(
        name, document, text, start, end, title, heading, uri, read_metadata(metadata)
    )


def _where(condition: Condition | None) -> Sql:
    return Sql("1") if condition is None else compile_where(condition)

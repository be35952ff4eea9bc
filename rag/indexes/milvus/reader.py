"""Reading the rows of a collection on Milvus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from rag.core.documents import Document, Passage
from rag.core.errors import InputError
from rag.core.protocols import Vectors
from rag.indexes.manifest import Manifest
from rag.indexes.milvus.client import Connection
from rag.indexes.milvus.rows import (
    DOCUMENT_FIELDS,
    INFO_FIELDS,
    PASSAGE_FIELDS,
    Row,
    document_of,
    info_of,
    key_of,
    passage_of,
)
from rag.indexes.milvus.schema import DOCUMENTS, LEXICAL_PARAMETERS, PASSAGES, dense_parameters
from rag.indexes.snapshot import DocumentInfo

EVERYTHING = "number >= 0"

MOST_HITS = 16_384
"""Rows that Milvus returns for a query, at most."""

_KEYS_AT_ONCE = 1_000
_HITS_AT_ONCE = 4_096
_PORTION = 1_024
_PASSAGES_PORTION = 256  # with their vectors
_DOCUMENTS_PORTION = 32  # with their texts

Item = TypeVar("Item")


class StoredRecord(NamedTuple):
    """What tells whether a document is stored as it is.

    Args:
        number: The number of its newest row.
        contents: The hash of the content of each row; one, unless something was interrupted.
    """

    number: int
    contents: tuple[bytes, ...]


_NONE = StoredRecord(0, ())


class StoredDocument(NamedTuple):
    """A document, as it is stored.

    Args:
        document: The document.
        expected: How many passages it has to have.
        passages: Those that it has.
        vectors: Their vectors, float32 of shape (passages, dimension).
    """

    document: Document
    expected: int
    passages: list[Passage]
    vectors: Vectors


class MilvusReader:
    """Reads the rows of one collection; threads can share it.

    Args:
        connection: The connection; the reader closes it.
        manifest: What the collection was built with.
    """

    def __init__(self, connection: Connection, manifest: Manifest) -> None:
        self.manifest = manifest
        self._connection = connection
        for table in (DOCUMENTS, PASSAGES):
            connection.call("load_collection", table)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def count(self, table: str, expression: str = "") -> int:
        """Count the rows of a table that match; all of them without an expression."""
        (row,) = self._connection.call(
            "query", table, filter=expression, output_fields=["count(*)"]
        )
        return int(row["count(*)"])

    def records(self, keys: Iterable[str]) -> dict[str, StoredRecord]:
        """Return what is stored of documents, by their keys."""
        found: dict[str, StoredRecord] = {}
        for portion in portions(keys, _KEYS_AT_ONCE):
            rows = self._query(DOCUMENTS, matching("key", portion), ("number", "key", "content"))
            for row in rows:
                known = found.get(row["key"], _NONE)
                contents = (*known.contents, bytes.fromhex(row["content"]))
                found[row["key"]] = StoredRecord(max(known.number, row["number"]), contents)
        return found

    def vectors(self, text_hashes: Iterable[bytes]) -> dict[bytes, Vectors]:
        """Return the vectors of those texts that are embedded, each of shape (dimension,)."""
        found: dict[bytes, Vectors] = {}
        for portion in portions((each.hex() for each in text_hashes), _KEYS_AT_ONCE):
            for row in self._query(
                PASSAGES, matching("text_hash", portion), ("text_hash", "vector")
            ):
                found[bytes.fromhex(row["text_hash"])] = np.array(row["vector"], np.float32)
        return found

    def search(
        self,
        field: str,
        queries: Sequence[Any],
        top_k: int,
        expression: str | None,
        fields: tuple[str, ...] = PASSAGE_FIELDS,
    ) -> list[list[tuple[Row, float]]]:
        """Return rows of passages and their scores for each query, best first.

        Args:
            field: 'vector', or 'bm25', whose queries are words.
            queries: What to search for.
            top_k: Rows for a query.
            expression: Only rows that match it; None for all.
            fields: What to read of them.
        """
        if top_k > MOST_HITS:
            raise InputError(f"top_k is {top_k}; Milvus finds at most {MOST_HITS:,}")
        lexical = field == "bm25"
        parameters = LEXICAL_PARAMETERS if lexical else dense_parameters(self.manifest, top_k)
        found: list[list[tuple[Row, float]]] = []
        for portion in portions(queries, max(1, _HITS_AT_ONCE // top_k)):
            answers = self._connection.call(
                "search",
                PASSAGES,
                data=portion,
                anns_field=field,
                limit=top_k,
                filter=expression or "",
                search_params=parameters,
                output_fields=list(fields),
            )
            for hits in answers:
                # Milvus Lite returns BM25 scores with their sign turned; none is below 0.
                scores = [abs(hit["distance"]) if lexical else hit["distance"] for hit in hits]
                rows = [hit["entity"] for hit in hits]
                found.append(list(zip(rows, scores, strict=True)))
        return found

    def passages_of(self, numbers: Iterable[int]) -> dict[int, Passage]:
        """Return the passages of rows, by number, as far as they are there."""
        return {
            row["number"]: passage_of(row)
            for portion in portions(numbers, _KEYS_AT_ONCE)
            for row in self._query(PASSAGES, f"number in {portion}", PASSAGE_FIELDS)
        }

    def passages(self) -> Iterator[Passage]:
        """Yield all passages by number."""
        for rows in self._connection.iterate(PASSAGES, EVERYTHING, PASSAGE_FIELDS, _PORTION):
            yield from map(passage_of, rows)

    def document(self, document_id: str) -> Document | None:
        """Return a document; None if there is none of that id."""
        rows = self._query(DOCUMENTS, matching("key", [key_of(document_id)]), DOCUMENT_FIELDS)
        return document_of(max(rows, key=lambda row: row["number"])) if rows else None

    def infos(self, expression: str, portion: int) -> Iterator[list[tuple[int, DocumentInfo]]]:
        """Yield numbers and documents without their texts by number, in portions."""
        for rows in self._newest(expression, (*INFO_FIELDS, "key"), portion):
            yield [(row["number"], info_of(row)) for row in rows]

    def contents(self) -> Iterator[StoredDocument]:
        """Yield everything, a document at a time, by number."""
        fields = (*DOCUMENT_FIELDS, "key", "passages")
        for rows in self._newest(EVERYTHING, fields, _DOCUMENTS_PORTION):
            owners = f"document in {[row['number'] for row in rows]}"
            owned: dict[int, list[Row]] = {row["number"]: [] for row in rows}
            for found in self._connection.iterate(
                PASSAGES, owners, (*PASSAGE_FIELDS, "document", "vector"), _PASSAGES_PORTION
            ):
                for each in found:
                    owned[each["document"]].append(each)
            for row in rows:
                own = owned[row["number"]]
                vectors = np.array([each["vector"] for each in own], np.float32)
                yield StoredDocument(
                    document_of(row),
                    row["passages"],
                    [passage_of(each) for each in own],
                    vectors.reshape(-1, self.manifest.embedder.dimension),
                )

    def left_behind(self) -> Iterator[tuple[str, list[int]]]:
        """Yield tables and numbers of rows that interrupted changes left behind."""
        current = [np.empty(0, np.int64)]
        for rows in self._connection.iterate(DOCUMENTS, EVERYTHING, ("number", "key"), _PORTION):
            records = self.records(row["key"] for row in rows)
            newest = np.array([records.get(row["key"], _NONE).number for row in rows], np.int64)
            current.append(newest)
            yield DOCUMENTS, _of_others(rows, "number", newest)
        owners = np.concatenate(current)
        for rows in self._connection.iterate(
            PASSAGES, EVERYTHING, ("number", "document"), _PORTION
        ):
            yield PASSAGES, _of_others(rows, "document", owners)

    def _newest(
        self, expression: str, fields: tuple[str, ...], portion: int
    ) -> Iterator[list[Row]]:
        """Yield rows of documents by number, without those that were replaced but not removed."""
        for rows in self._connection.iterate(DOCUMENTS, expression, fields, portion):
            records = self.records(row["key"] for row in rows)
            yield [row for row in rows if records.get(row["key"], _NONE).number == row["number"]]

    def _query(self, table: str, expression: str, fields: Sequence[str]) -> list[Row]:
        found: list[Row] = self._connection.call(
            "query", table, filter=expression, output_fields=list(fields), limit=MOST_HITS
        )
        return found


def _of_others(rows: Sequence[Row], field: str, known: npt.NDArray[np.int64]) -> list[int]:
    """Return the numbers of rows whose field has none of the known values."""
    values = np.array([row[field] for row in rows], np.int64)
    return [
        row["number"]
        for row, is_known in zip(rows, np.isin(values, known), strict=True)
        if not is_known
    ]


def matching(field: str, keys: Iterable[str]) -> str:
    """Return an expression for keys, which hold digits only."""
    listed = ", ".join(f'"{key}"' for key in keys)
    return f"{field} in [{listed}]"


def portions(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of at most that many."""
    rest = iter(items)
    while portion := list(islice(rest, size)):
        yield portion

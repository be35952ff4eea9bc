"""Documents and passages as rows on Milvus, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from rag.core.documents import Document, Passage
from rag.core.errors import InputError
from rag.core.protocols import Vectors
from rag.indexes.analysis import passage_words
from rag.indexes.milvus.filter import bounds, facts
from rag.indexes.milvus.schema import LONGEST_STRING, MOST_ELEMENTS
from rag.indexes.records import DocumentRecord, hash_text
from rag.indexes.snapshot import DocumentInfo

Row = Mapping[str, Any]

INFO_FIELDS = ("number", "id", "title", "uri", "metadata")
DOCUMENT_FIELDS = (*INFO_FIELDS, "text")
PASSAGE_FIELDS = (*DOCUMENT_FIELDS, "document_id", "heading", "start", "end")

_PIECE = LONGEST_STRING // 4  # characters, of at most four bytes each
_LARGEST_TEXT = 32 << 20  # a request may have 64 MiB


def key_of(document_id: str) -> str:
    """Return what expressions call a document: digits, whatever its id holds."""
    return hash_text(document_id).hex()


def document_row(record: DocumentRecord, number: int, passages: int) -> dict[str, Any]:
    """Return the row of a document.

    Args:
        record: The document.
        number: The row's number.
        passages: How many passages it has.

    Raises:
        InputError: Something of it is too long for Milvus.
    """
    document = record.document
    if len(document.text.encode()) > _LARGEST_TEXT:
        raise InputError(
            f"document {document.id!r} is longer than the {_LARGEST_TEXT:,} bytes that Milvus "
            "takes at once; split it"
        )
    return {
        **_shared(record, number),
        "id": document.id,
        "title": document.title,
        "text": _pieces(document.text),
        "content": record.content_hash.hex(),
        "passages": passages,
        "vector": np.zeros(2, np.float32),
    }


def passage_row(
    record: DocumentRecord, passage: Passage, vector: Vectors, *, number: int, document: int
) -> dict[str, Any]:
    """Return the row of a passage.

    Args:
        record: Its document.
        passage: The passage.
        vector: Its vector, of shape (dimension,).
        number: The row's number.
        document: The number of the document's row.

    Raises:
        InputError: Something of it is too long for Milvus.
    """
    words = " ".join(passage_words(passage))
    row = {
        **_shared(record, number),
        "id": passage.id,
        "title": passage.title,
        "text": _pieces(passage.text),
        "document": document,
        "document_id": passage.document_id,
        "heading": passage.heading,
        "start": passage.start,
        "end": passage.end,
        "text_hash": hash_text(passage.indexed_text).hex(),
        "vector": vector,
        "words": words,
    }
    _check(record, "the id of a passage", passage.id)
    _check(record, "the heading of a passage", passage.heading)
    _check(record, "the words of a passage (shorter passages have fewer)", words)
    return row


def document_of(row: Row) -> Document:
    """Return the document of a row."""
    return Document(row["id"], "".join(row["text"]), row["title"], row["uri"], row["metadata"])


def info_of(row: Row) -> DocumentInfo:
    """Return the document of a row without its text."""
    return DocumentInfo(row["id"], row["title"], row["uri"], row["metadata"])


def passage_of(row: Row) -> Passage:
    """Return the passage of a row."""
    return Passage(
        row["id"],
        row["document_id"],
        "".join(row["text"]),
        row["start"],
        row["end"],
        row["title"],
        row["heading"],
        row["uri"],
        row["metadata"],
    )


def _shared(record: DocumentRecord, number: int) -> dict[str, Any]:
    document = record.document
    held, limits = facts(record.fields), bounds(record.fields)
    if len(held) > MOST_ELEMENTS:
        raise InputError(
            f"document {document.id!r} has too many values in its metadata for Milvus; about "
            f"{MOST_ELEMENTS // 2:,} fit"
        )
    for what, text in (
        ("its id", document.id),
        ("its title", document.title),
        ("its uri", document.uri),
        ("its metadata", record.metadata),
        ("what filters compare of its metadata", json.dumps(limits)),
    ):
        _check(record, what, text)
    return {
        "number": number,
        "key": key_of(document.id),
        "uri": document.uri,
        "metadata": json.loads(record.metadata),
        "facts": held,
        "bounds": limits,
    }


def _check(record: DocumentRecord, what: str, text: str) -> None:
    size = len(text.encode())
    if size > LONGEST_STRING:
        raise InputError(
            f"document {record.document.id[:200]!r}: {what} takes {size:,} bytes, and Milvus keeps "
            f"{LONGEST_STRING:,}"
        )


def _pieces(text: str) -> list[str]:
    return [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]

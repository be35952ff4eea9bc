"""JSON Lines: a document a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag.core.documents import Document, Scalar
from rag.core.errors import LoadError
from rag.text.content import normalize

_OWN_FIELDS = ("id", "_id", "text", "title", "uri", "metadata")


def read_jsonl(path: Path, *, document_id: str, max_bytes: int) -> Iterator[Document | LoadError]:
    """Yield a document for each line, reading one line at a time.

    A line is an object with `text` and, where it has them, `id` (or `_id`), `title`, `uri` and
    `metadata`; all other fields are metadata too. A line without an id is named after the file
    and its number.

    Args:
        path: The file.
        document_id: What to name lines without an id after.
        max_bytes: Longest line that is read.

    Yields:
        The document, or the error of a line that is none; empty lines are passed over.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(max_bytes + 1):
            number += 1
            if len(line) > max_bytes:
                yield LoadError(f"{path}, line {number}", f"longer than {max_bytes:,} bytes")
                while line and not line.endswith(b"\n"):
                    line = file.readline(max_bytes)
                continue
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8-sig"))
                yield _document(record, f"{document_id}:{number}", path)
            except (ValueError, TypeError, RecursionError) as error:
                yield LoadError(f"{path}, line {number}", str(error))


def _document(record: Any, default_id: str, path: Path) -> Document:
    if not isinstance(record, dict):
        raise TypeError("not a JSON object")
    text = normalize(_string(record, "text"))
    if not text.strip():
        raise ValueError("no text in it")
    named = record.get("id", record.get("_id", default_id))
    if isinstance(named, bool) or not isinstance(named, str | int) or named == "":
        raise ValueError(f"the id {named!r} is neither a string nor an integer")
    more = record.get("metadata") or {}
    if not isinstance(more, dict):
        raise TypeError("'metadata' is not an object")
    others = {key: value for key, value in record.items() if key not in _OWN_FIELDS}
    return Document(
        id=normalize(str(named)),
        text=text,
        title=" ".join(normalize(_string(record, "title")).split()),
        uri=_string(record, "uri") or path.resolve().as_uri(),
        metadata={"format": "text"}
        | {key: _metadata_value(key, value) for key, value in {**more, **others}.items()},
    )


def _string(record: dict[str, Any], key: str) -> str:
    value = record.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"'{key}' is not a string")
    return value


def _metadata_value(key: str, value: Any) -> Scalar | list[Scalar]:
    items: list[Scalar] = value if isinstance(value, list) else [value]
    for item in items:
        if item is not None and not isinstance(item, str | int | float | bool):
            raise TypeError(f"'{key}' is nested; metadata are scalars or flat lists of them")
    return items if isinstance(value, list) else items[0]

"""Retrieval data sets in the layout of BEIR (Thakur et al., NeurIPS 2021)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rag.core.documents import Document
from rag.core.errors import DataError

T = TypeVar("T")

Judgements = dict[str, dict[str, int]]
"""Relevance, 1 or more where relevant, by query id and document id."""

_OWN_FIELDS = ("id", "_id", "title", "text", "metadata")


@dataclass(frozen=True, slots=True)
class Query:
    """A question of a data set.

    Args:
        id: Its name.
        text: The question.
        answers: Accepted answers, where the set has any.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrievalDataset:
    """Documents, questions, and which documents are relevant to which question.

    Args:
        folder: Where it is.
        queries: The queries, in the file's order.
        judgements: The relevant documents of those that have any judged.
        candidates: Ids of the documents that come with a question, in sets that have such.
    """

    folder: Path
    queries: tuple[Query, ...]
    judgements: Judgements
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def documents(self) -> Iterator[Document]:
        """Yield the documents of `corpus.jsonl`, reading a line at a time.

        `metadata` and other fields become metadata where filters can use them. A document without
        text has its title as its text.

        Raises:
            DataError: A line is malformed, or an id comes twice.
        """
        path = self.folder / "corpus.jsonl"
        seen = set()
        for number, document in _records(path, _document):
            if document.id in seen:
                raise DataError(str(path), f"document {document.id!r} comes twice", number)
            seen.add(document.id)
            yield document


def read_dataset(
    folder: str | Path, split: str = "test", *, judged: bool = True
) -> RetrievalDataset:
    """Read a data set.

    The folder holds `corpus.jsonl` (`id` or `_id`, `title`, `text`), `queries.jsonl` (`id` or
    `_id`, `text`, perhaps `answers`), judgements in `qrels.tsv` or `qrels/SPLIT.tsv` (query,
    document, relevance; a header is passed over), and perhaps `candidates.jsonl` (`query_id`,
    `doc_ids`). Documents are not read yet.

    Args:
        folder: The folder.
        split: Which of several files of judgements to use, where there are several.
        judged: Whether to leave out queries without judgements; else a folder needs none.

    Raises:
        DataError: A file is missing or malformed; the message names it and the line.
    """
    folder = Path(folder)
    corpus, candidates = folder / "corpus.jsonl", folder / "candidates.jsonl"
    if not corpus.is_file():
        raise DataError(str(corpus), "there is no such file")
    qrels = folder / "qrels.tsv"
    if not qrels.is_file():
        qrels = folder / "qrels" / f"{split}.tsv"
    judgements = _read_judgements(qrels) if judged or qrels.is_file() else {}
    queries = read_queries(folder / "queries.jsonl")
    known = [query for query in queries if query.id in judgements]
    if judged and not known:
        raise DataError(str(qrels), "judges none of the queries in queries.jsonl")
    return RetrievalDataset(
        folder,
        tuple(known if judged else queries),
        {query.id: judgements[query.id] for query in known},
        dict(each for _, each in _records(candidates, _candidates)) if candidates.is_file() else {},
    )


def read_queries(path: Path) -> list[Query]:
    """Read the queries of a data set, JSON Lines with `id` or `_id`, `text`, perhaps `answers`.

    Raises:
        DataError: The file is missing or malformed, or an id comes twice.
    """
    queries: dict[str, Query] = {}
    for number, query in _records(path, _query):
        if query.id in queries:
            raise DataError(str(path), f"query {query.id!r} comes twice", number)
        queries[query.id] = query
    return list(queries.values())


def _read_judgements(path: Path) -> Judgements:
    judgements: Judgements = {}
    for number, line in _lines(path):
        columns = line.split("\t")
        if len(columns) != 3:
            raise DataError(str(path), f"{len(columns)} columns, by tabs, instead of 3", number)
        query_id, document_id, relevance = columns
        try:
            judgements.setdefault(query_id, {})[document_id] = int(relevance)
        except ValueError as error:
            if number > 1:
                reason = f"relevance {relevance!r} is no integer"
                raise DataError(str(path), reason, number) from error
            judgements.clear()
    return judgements


def _query(record: dict[str, Any]) -> Query:
    return Query(_id(record), _string(record, "text"), _strings(record, "answers"))


def _document(record: dict[str, Any]) -> Document:
    title = _string(record, "title") if record.get("title") is not None else ""
    others = {name: value for name, value in record.items() if name not in _OWN_FIELDS}
    metadata = {
        name: value
        for name, value in {**others, **(record.get("metadata") or {})}.items()
        if _filterable(value)
    }
    return Document(_id(record), _string(record, "text") or title, title, metadata=metadata)


def _candidates(record: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    return _string(record, "query_id"), _strings(record, "doc_ids")


def _filterable(value: Any) -> bool:
    elements = value if isinstance(value, list) else [value]
    return all(each is None or isinstance(each, str | int | float | bool) for each in elements)


def _id(record: dict[str, Any]) -> str:
    return _string(record, "id" if "id" in record else "_id")


def _string(record: dict[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise TypeError(f"field {name!r} is {value!r} instead of a string")
    return value


def _strings(record: dict[str, Any], name: str) -> tuple[str, ...]:
    value = record.get(name) or []
    if not isinstance(value, list):
        raise TypeError(f"field {name!r} is {value!r} instead of a list")
    return tuple(map(str, value))


def _records(path: Path, parse: Callable[[dict[str, Any]], T]) -> Iterator[tuple[int, T]]:
    """Yield what each line of a JSON Lines file says, with the line's number."""
    for number, line in _lines(path):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise TypeError("not a JSON object")
            parsed = parse(record)
        except KeyError as error:
            raise DataError(str(path), f"no field {error}", number) from error
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(str(path), str(error), number) from error
        yield number, parsed


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, and their numbers from 1."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                number += 1
                if line.strip():
                    yield number, line.rstrip("\n")
    except OSError as error:
        raise DataError(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"not UTF-8: {error}", number + 1) from error

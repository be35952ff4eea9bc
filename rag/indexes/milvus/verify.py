"""Checking a collection on Milvus against itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from rag.indexes.milvus.reader import StoredDocument
from rag.indexes.milvus.schema import DOCUMENTS
from rag.indexes.milvus.store import MilvusStore
from rag.indexes.verify import Problem, VerifyReport


def verify(store: MilvusStore, *, repair: bool) -> VerifyReport:
    """Compare documents with their passages, and find what interrupted changes left behind."""
    problems = [Problem("store", reason) for each in store.contents() for reason in _damage(each)]
    left: Counter[str] = Counter()
    for table, numbers in store.left_behind():
        left[table] += len(numbers)
        if repair:
            store.remove_numbers(table, numbers)
    for table, count in left.items():
        if count:
            what = "documents that were replaced" if table == DOCUMENTS else "passages of none"
            problems.append(Problem("store", f"still holds {count} {what}", repaired=repair))
    return VerifyReport(tuple(problems))


def _damage(stored: StoredDocument) -> Iterator[str]:
    name = stored.document.id
    if len(stored.passages) != stored.expected:
        yield (
            f"holds {len(stored.passages)} of {stored.expected} passages of document {name!r}; "
            "remove it and add it again"
        )
    for passage, vector in zip(stored.passages, stored.vectors, strict=True):
        if stored.document.text[passage.start : passage.end] != passage.text:
            yield f"passage {passage.id!r} is not the text at its place in its document"
        if not np.isfinite(vector).all():
            yield f"passage {passage.id!r} has a vector of numbers that are not finite"

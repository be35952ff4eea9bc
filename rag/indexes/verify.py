"""Checking a collection against itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rag.core.errors import CollectionCorrupt, InputError
from rag.indexes.derived_lexical import DerivedLexical
from rag.indexes.derived_vectors import DerivedVectors
from rag.indexes.lexical import LexicalIndex
from rag.indexes.records import hash_text
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store
from rag.indexes.vectors import IntArray, VectorIndex

Part = Literal["store", "vectors", "lexical"]

_PROBES = 100
_PROBE_TOLERANCE = 1e-3
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it has to be.

    Args:
        part: Where: in the store, in the vector index or in the lexical index.
        reason: What is wrong.
        repaired: Whether it is right again.
    """

    part: Part
    reason: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found.

    Args:
        problems: What is wrong; empty if nothing is.
    """

    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(problem.repaired for problem in self.problems)


def verify(
    store: Store, vectors: DerivedVectors, lexical: DerivedLexical, *, repair: bool
) -> VerifyReport:
    """Check the store, and that the indexes hold exactly its passages.

    An index is built anew only from a sound store; the store itself cannot be repaired from
    anything else.
    """
    damage = _store_problems(store)
    problems = [Problem("store", reason) for reason in damage]
    indexes: list[tuple[Part, DerivedVectors | DerivedLexical]] = [
        ("vectors", vectors),
        ("lexical", lexical),
    ]
    for part, index in indexes:
        reasons = remaining = _index_problems(index)
        if reasons and repair and not damage:
            index.rebuild()
            remaining = _index_problems(index)
        problems += [Problem(part, each, repaired=each not in remaining) for each in reasons]
    return VerifyReport(tuple(problems))


def _store_problems(store: Store) -> list[str]:
    try:
        with store.read() as snapshot:
            damage = [row[0] for row in snapshot.execute("PRAGMA integrity_check")]
            if damage != ["ok"]:
                return damage
            orphans = [
                f"row {row} of {table} has no row in {parent}"
                for table, row, parent, _ in snapshot.execute("PRAGMA foreign_key_check")
            ]
            return [*orphans, *_passage_problems(snapshot)]
    except CollectionCorrupt as error:
        return [error.reason]


def _passage_problems(snapshot: Snapshot) -> Iterator[str]:
    """Compare each passage with its place in its document, and its vector with its text."""
    for document, stored in snapshot.contents():
        for passage, text_hash, vector in stored:
            if document.text[passage.start : passage.end] != passage.text:
                yield f"passage {passage.id!r} is not the text at its place in its document"
            if vector is None or len(vector) != snapshot.codec.size:
                yield f"passage {passage.id!r} has no vector of {snapshot.codec.size} bytes"
            elif not np.isfinite(snapshot.codec.decode([vector], "")).all():
                yield f"passage {passage.id!r} has a vector of numbers that are not finite"
            if text_hash is not None and text_hash != hash_text(passage.indexed_text):
                yield f"passage {passage.id!r} has the vector of another text"


def _index_problems(derived: DerivedVectors | DerivedLexical) -> list[str]:
    try:
        with derived.current() as (index, snapshot):
            expected = snapshot.ids()
            reasons = list(_id_problems(np.sort(index.ids()), expected))
            if not isinstance(index, LexicalIndex) and not reasons and len(expected):
                reasons += _vector_problems(index, snapshot)
            return reasons
    except (CollectionCorrupt, InputError, ValueError) as error:
        return [f"cannot be used: {error}"]


def _id_problems(found: IntArray, expected: IntArray) -> Iterator[str]:
    for what, ids in (
        ("lacks", np.setdiff1d(expected, found)),
        ("still holds", np.setdiff1d(found, expected)),
        ("holds twice", found[1:][found[1:] == found[:-1]]),
    ):
        if len(ids):
            named = ", ".join(map(str, ids[:_NAMED])) + (", …" if len(ids) > _NAMED else "")
            yield f"{what} {len(ids)} passages: {named}"


def _vector_problems(index: VectorIndex, snapshot: Snapshot) -> list[str]:
    """Compare scores in the index with those of the stored vectors, for some passages."""
    if index.kind == "pq":
        return []  # its scores are approximate
    wrong = 0
    ids, vectors = snapshot.sample_vectors(_PROBES)
    for number, vector in zip(ids, vectors, strict=True):
        (hits,) = index.search(vector[None], 1, np.array([number]))
        wrong += not np.allclose(hits.scores, vector @ vector, rtol=_PROBE_TOLERANCE)
    return (
        [f"holds other vectors than the store for {wrong} of {len(ids)} passages"] if wrong else []
    )

"""Checking a collection against itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rag.core.errors import CollectionCorrupt, InputError
from rag.indexes.derived_lexical import DerivedLexical
from rag.indexes.derived_vectors import DerivedVectors
from rag.indexes.lexical import LexicalIndex
from rag.indexes.recall import NEIGHBOURS, Recall, exact_neighbours, find, recall_of
from rag.indexes.recall_queries import QUERIES_NAME, halves, kept_queries
from rag.indexes.records import hash_text
from rag.indexes.rescoring import OVERSAMPLING
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store
from rag.indexes.tuning import retune
from rag.indexes.vectors import Codes, IntArray, VectorIndex

Part = Literal["store", "vectors", "lexical"]

_PROBES = 100
_PROBE_TOLERANCE: dict[Codes, float] = {
    "float32": 1e-3,
    "float16": 1e-3,
    "int8": 0.02,
    "pq": 0.1,
}
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
        recall: The share of the 10 nearest passages that searches find, after repairs; None
            where no recall was asked for or it could not be measured.
    """

    problems: tuple[Problem, ...]
    recall: Recall | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(problem.repaired for problem in self.problems)


def verify(
    folder: Path,
    store: Store,
    vectors: DerivedVectors,
    lexical: DerivedLexical,
    *,
    repair: bool,
) -> VerifyReport:
    """Check the store, that the indexes hold exactly its passages, and the recall asked for.

    An index is built anew only from a sound store; the store itself cannot be repaired from
    anything else.
    """
    damage = _store_problems(store)
    problems = [Problem("store", reason) for reason in damage]
    repair = repair and not damage
    indexes: list[tuple[Part, DerivedVectors | DerivedLexical]] = [
        ("vectors", vectors),
        ("lexical", lexical),
    ]
    for part, index in indexes:
        reasons = remaining = _index_problems(index)
        if reasons and repair:
            _build_anew(folder, index)
            remaining = _index_problems(index)
        problems += [Problem(part, each, repaired=each not in remaining) for each in reasons]
    if not all(each.repaired for each in problems):
        return VerifyReport(tuple(problems))
    reason, recall = _check_recall(folder, vectors)
    if reason:
        still = reason
        if repair and recall is not None:
            _build_anew(folder, vectors)
            still, recall = _check_recall(folder, vectors)
        problems.append(Problem("vectors", reason, repaired=not still))
    return VerifyReport(tuple(problems), recall)


def _build_anew(folder: Path, index: DerivedVectors | DerivedLexical) -> None:
    index.rebuild()
    if isinstance(index, DerivedVectors):
        index.save()
        retune(folder, index, built_anew=True)


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
    """Search for the vectors of some passages among them, and compare with what is stored."""
    ids, vectors = snapshot.sample_vectors(_PROBES)
    order = np.argsort(ids)
    ids, vectors = ids[order], vectors[order]
    hits = index.search(vectors, 1, ids)
    found = np.searchsorted(ids, [each.ids[0] for each in hits])
    tolerance = _PROBE_TOLERANCE[index.codes]
    own = np.einsum("ij,ij->i", vectors, vectors)
    true = np.einsum("ij,ij->i", vectors, vectors[found])
    wrong = true < own * (1 - tolerance)
    if OVERSAMPLING[index.codes] == 1:  # approximate scores mean nothing by themselves
        wrong |= ~np.isclose([each.scores[0] for each in hits], true, rtol=tolerance)
    if not wrong.any():
        return []
    number = np.count_nonzero(wrong)
    return [f"holds other vectors than the store for {number} of {len(ids)} passages"]


def _check_recall(folder: Path, vectors: DerivedVectors) -> tuple[str, Recall | None]:
    """Measure recall, where one was asked for, by the queries that no setting was chosen by.

    Returns:
        What is wrong, '' if nothing is: the recall is below what was asked for by more than the
        choice of queries explains, or cannot be measured. And the recall where it was measured.
    """
    asked = vectors.manifest.tuned
    if asked is None:
        return "", None
    with vectors.current() as (index, snapshot):
        queries = kept_queries(folder, snapshot.codec)
        if queries is None:
            return f"{QUERIES_NAME} is missing or damaged; tune the index again", None
        queries = queries[halves(len(queries))[1]]
        true = exact_neighbours(snapshot, queries, NEIGHBOURS)
        tuned = vectors.manifest.tuned_for(index.description)
        found = find(index, snapshot, queries, tuned.oversampling if tuned else None)
    recall = recall_of(found, true)
    if not recall.surely_misses(asked.recall):
        return "", recall
    reason = (
        f"finds {recall.mean:.3f} of the {NEIGHBOURS} nearest where {asked.recall:g} was asked "
        "for; build the index anew and tune it"
    )
    return reason, recall

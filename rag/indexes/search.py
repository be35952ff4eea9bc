"""From what an index finds to hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rag.core.documents import Passage
from rag.core.errors import CollectionCorrupt, InputError
from rag.core.filters import Condition, Where, parse_where
from rag.core.hits import Hit
from rag.indexes.snapshot import Snapshot
from rag.indexes.vectors import IntArray, VectorHits

_FILTERS_KEPT = 16


class FilterCache:
    """The ids that the latest filters allow; threads can share it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Condition, int], IntArray] = {}

    def ids(self, snapshot: Snapshot, condition: Condition | None) -> IntArray | None:
        """Return the ids of the passages that match a filter; None where there is no filter."""
        if condition is None:
            return None
        key = (condition, snapshot.generation)
        ids = self._kept.get(key)
        if ids is None:
            ids = snapshot.ids(condition)
            # A new dictionary, so that no thread sees one that changes.
            self._kept = {**dict([*self._kept.items()][1 - _FILTERS_KEPT :]), key: ids}
        return ids


def checked_condition(top_k: int, where: Where | None) -> Condition | None:
    """Return the filter of a search in one shape; None where there is none.

    Raises:
        InputError: `top_k` is below 1, or `where` is malformed.
    """
    if top_k < 1:
        raise InputError(f"top_k is {top_k}; ask for 1 hit or more")
    return parse_where(where) if where else None


def unread_hits(part: str, found: Sequence[VectorHits]) -> list[list[Hit]]:
    """Return hits whose passages have an id, made of their number, and nothing else.

    Args:
        part: The part of the collection that found them.
        found: Ids and scores for each query, best first.
    """
    return [
        [
            Hit(Passage(str(number), "", "", 0, 0), score, {part: score}, {part: rank})
            for rank, (number, score) in enumerate(
                zip(ids.tolist(), scores.tolist(), strict=True), start=1
            )
        ]
        for ids, scores in found
    ]


def read_fused(
    fused: Sequence[Sequence[Hit]], snapshots: Mapping[str, Snapshot]
) -> list[list[Hit]]:
    """Return hits of `unread_hits`, fused, with their passages.

    Args:
        fused: The hits of each query.
        snapshots: For each part of the collection the store at its index's generation.

    Raises:
        CollectionCorrupt: An index names a passage that is not stored.
    """
    passages: dict[int, Passage] = {}
    for part, snapshot in snapshots.items():
        numbers = {int(hit.passage.id) for hits in fused for hit in hits if part in hit.ranks}
        passages |= snapshot.passages(numbers - passages.keys())
        if missing := numbers - passages.keys():
            raise not_stored(snapshot, part, min(missing))
    return [[replace(hit, passage=passages[int(hit.passage.id)]) for hit in hits] for hits in fused]


def read_hits(part: str, found: Sequence[VectorHits], snapshot: Snapshot) -> list[list[Hit]]:
    """Return hits with their passages.

    Args:
        part: The part of the collection that found them.
        found: Ids and scores for each query, best first.
        snapshot: The store at the index's generation.

    Raises:
        CollectionCorrupt: The index names a passage that is not stored.
    """
    listed = [(ids.tolist(), scores.tolist()) for ids, scores in found]
    passages = snapshot.passages({number for ids, _ in listed for number in ids})
    try:
        return [
            [
                Hit(passages[number], score, {part: score}, {part: rank})
                for rank, (number, score) in enumerate(zip(ids, scores, strict=True), start=1)
            ]
            for ids, scores in listed
        ]
    except KeyError as error:
        raise not_stored(snapshot, part, error) from error


def not_stored(snapshot: Snapshot, part: str, number: object) -> CollectionCorrupt:
    """Return the error of an index that names a passage which is not stored."""
    return CollectionCorrupt(
        snapshot.path,
        f"the {part} index names passage {number}, which is not stored; verify and repair",
    )

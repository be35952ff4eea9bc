"""How many of the true nearest passages searches find."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from rag.core.protocols import Vectors
from rag.indexes.rescoring import nearest
from rag.indexes.snapshot import Snapshot
from rag.indexes.vectors import VectorHits, VectorIndex

NEIGHBOURS = 10
"""Recall is the share of so many true nearest passages that a search finds."""

_CONFIDENCE = 1.645  # standard errors; a normal mean is further off on one side once in 20 times
_ROUNDING = 1e-5  # two sums of the same products differ by less
_BATCH = 64  # queries searched at once


class Recall(NamedTuple):
    """The recall of searches, estimated from some queries.

    Args:
        mean: The mean share of the true nearest that a query found.
        error: The standard error of the mean.
        queries: How many queries there were.
    """

    mean: float
    error: float
    queries: int

    def surely_reaches(self, target: float) -> bool:
        """Whether the mean is at least `target` even if the queries were easy by chance."""
        return self.mean - _CONFIDENCE * self.error >= target

    def surely_misses(self, target: float) -> bool:
        """Whether the mean is below `target` even if the queries were hard by chance."""
        return self.mean + _CONFIDENCE * self.error < target


def exact_neighbours(snapshot: Snapshot, queries: Vectors, top_k: int) -> list[VectorHits]:
    """Compare queries with every stored vector, of which few are in memory at a time.

    Args:
        snapshot: The store.
        queries: float32 of shape (n, dimension).
        top_k: Neighbours of a query.

    Returns:
        For each query the `top_k` passages of the largest inner product, best first, or all
        passages if there are fewer.
    """
    best_ids = np.full((len(queries), top_k), -1, np.int64)
    best_scores = np.full((len(queries), top_k), -np.inf, np.float32)
    for ids, vectors in snapshot.added_vectors(0):
        scores = queries @ vectors.T
        # Soon hardly a passage is among the nearest of any query.
        better = np.flatnonzero((scores > best_scores[:, -1:]).any(axis=0))
        scores = np.hstack([best_scores, scores[:, better]])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
        rows = np.broadcast_to(ids[better], (len(queries), len(better)))
        best_ids = np.take_along_axis(np.hstack([best_ids, rows]), order, axis=1)
        best_scores = np.take_along_axis(scores, order, axis=1)
    return [
        VectorHits(found[found >= 0], scores[found >= 0])
        for found, scores in zip(best_ids, best_scores, strict=True)
    ]


def recall_of(found: Sequence[VectorHits], true: Sequence[VectorHits]) -> Recall:
    """Return the share of the true nearest passages that searches found.

    A passage that is as near as the last of the true ones counts as one of them.

    Args:
        found: For each query, at least one, what was found.
        true: For each query the true nearest, best first.
    """
    shares = [_share(*pair) for pair in zip(found, true, strict=True)]
    spread = float(np.std(shares, ddof=1)) if len(shares) > 1 else 0.0
    return Recall(float(np.mean(shares)), spread / sqrt(len(shares)), len(shares))


def _share(found: VectorHits, true: VectorHits) -> float:
    if not len(true.ids):
        return 1.0
    least = true.scores[-1] - _ROUNDING * abs(true.scores[-1])
    known = (found.ids[:, None] == true.ids).any(axis=1)
    hits = np.count_nonzero(known | (found.scores >= least))
    return min(1.0, hits / len(true.ids))


def find(
    index: VectorIndex, snapshot: Snapshot, queries: Vectors, oversampling: float | None = None
) -> list[VectorHits]:
    """Return the `NEIGHBOURS` passages nearest to each query, as searches find them.

    Args:
        index: The index.
        snapshot: The store at the index's generation.
        queries: float32 of shape (n, dimension).
        oversampling: See `nearest`.
    """
    found: list[VectorHits] = []
    for start in range(0, len(queries), _BATCH):
        batch = queries[start : start + _BATCH]
        found += nearest(index, snapshot, batch, NEIGHBOURS, oversampling=oversampling)
    return found

"""Searching an index whose codes are approximate: candidates are scored by their stored vectors."""

from __future__ import annotations

import math

import numpy as np

from rag.core.protocols import Vectors
from rag.indexes.search import not_stored
from rag.indexes.snapshot import Snapshot
from rag.indexes.vectors import Codes, IntArray, Metric, VectorHits, VectorIndex

OVERSAMPLING: dict[Codes, float] = {"float32": 1.0, "float16": 1.0, "int8": 1.5, "pq": 10.0}
"""Candidates for each hit wanted, where no recall was asked for."""


def nearest(
    index: VectorIndex,
    snapshot: Snapshot,
    queries: Vectors,
    top_k: int,
    allowed: IntArray | None = None,
    *,
    oversampling: float | None = None,
) -> list[VectorHits]:
    """Find the passages nearest to each query, with exact scores.

    Args:
        index: The index.
        snapshot: The store at the index's generation.
        queries: float32 of shape (n, dimension).
        top_k: Hits for each query.
        allowed: The only ids that may be returned; None allows all.
        oversampling: Candidates for each hit wanted, for codes that are approximate; None takes
            `OVERSAMPLING`.

    Returns:
        For each query `top_k` hits, or as many as there are; of equal scores the smaller id is
        first.

    Raises:
        InputError: An argument cannot be used.
        CollectionCorrupt: The index names a passage that is not stored.
    """
    if OVERSAMPLING[index.codes] == 1:
        return index.search(queries, top_k, allowed)
    factor = OVERSAMPLING[index.codes] if oversampling is None else oversampling
    found = index.search(queries, math.ceil(top_k * factor), allowed)
    if not found:
        return []
    candidates = np.unique(np.concatenate([hits.ids for hits in found]))
    ids, vectors = snapshot.vectors(candidates)
    if len(ids) < len(candidates):
        raise not_stored(snapshot, "dense", np.setdiff1d(candidates, ids)[0])
    return [
        _best(query, hits.ids, vectors[np.searchsorted(ids, hits.ids)], top_k, index.metric)
        for query, hits in zip(queries, found, strict=True)
    ]


def _best(
    query: Vectors, ids: IntArray, vectors: Vectors, top_k: int, metric: Metric
) -> VectorHits:
    # Not by a matrix product: its last bits depend on a row's place, which would part equals.
    if metric == "inner_product":
        scores = np.einsum("ij,j->i", vectors, query)
    else:
        scores = -np.einsum("ij,ij->i", vectors - query, vectors - query)
    best = np.lexsort((ids, -scores))[:top_k]
    return VectorHits(ids[best], scores[best])

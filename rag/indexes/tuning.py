"""Choosing how a vector index is searched, so that it finds a stated share of the nearest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil, inf, log2
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from rag.core.errors import InputError, MissingExtra
from rag.core.progress import Progress, silent
from rag.core.protocols import Embedder, Vectors
from rag.indexes.derived_vectors import DerivedVectors
from rag.indexes.manifest import TunedIndex
from rag.indexes.recall import NEIGHBOURS, Recall, exact_neighbours, find, recall_of
from rag.indexes.recall_queries import halves, keep_queries, kept_queries, query_vectors
from rag.indexes.rescoring import OVERSAMPLING
from rag.indexes.snapshot import Snapshot
from rag.indexes.vectors import VectorHits, VectorIndex

_OVERSAMPLINGS = tuple(2.0**power for power in range(8))
_STEP = 1 / 16  # efforts that differ by less are not told apart
_RETUNE_GROWTH = 2  # times the passages that an index was tuned for


def tune(
    folder: Path,
    vectors: DerivedVectors,
    embedder: Embedder,
    recall: float,
    queries: Sequence[str] | None,
    progress: Progress,
) -> TunedIndex:
    """Tune the index of a collection and keep the setting; see `Collection.tune`."""
    if not 0 < recall <= 1:
        raise InputError(f"recall is {recall:g}; it must be above 0 and at most 1")
    with vectors.current() as (index, snapshot):
        asked = query_vectors(snapshot, embedder, queries)
        tuned, reached = _tuned(index, snapshot, asked, recall, progress)
        if reached.surely_misses(recall):
            raise InputError(
                f"{index.description} cannot be searched so that it finds {recall:g} of the "
                f"{NEIGHBOURS} nearest: the most it found is {reached.mean:.3f}, with effort "
                f"{tuned.effort} and oversampling {tuned.oversampling:g}; codes that keep more "
                "of the vectors find more"
            )
        keep_queries(folder, asked, snapshot.codec)
        _keep(folder, vectors, index, tuned)
    return tuned


def retune(folder: Path, vectors: DerivedVectors, *, built_anew: bool) -> None:
    """Tune an index again for its old recall, by the kept queries, where its setting is outdated.

    Where that recall is out of reach now, the setting that comes nearest is kept.

    Args:
        folder: The collection's directory.
        vectors: The index; nothing is done where it is not tuned.
        built_anew: Whether it was built anew; else it is tuned if it is another one by its
            description or has grown to twice the passages.
    """
    before = vectors.manifest.tuned
    queries = None if before is None else kept_queries(folder, vectors.manifest.codec)
    if before is None or queries is None:  # `verify` tells of queries that are missing
        return
    try:
        with vectors.current() as (index, snapshot):
            other = built_anew or index.description != before.index
            if len(index) and (other or len(index) >= _RETUNE_GROWTH * before.passages):
                tuned, _ = _tuned(index, snapshot, queries, before.recall, silent)
                _keep(folder, vectors, index, tuned)
    except MissingExtra:  # whoever has FAISS does it
        return


def _keep(folder: Path, vectors: DerivedVectors, index: VectorIndex, tuned: TunedIndex) -> None:
    manifest = vectors.manifest.model_copy(update={"tuned": tuned})
    manifest.write(folder)
    vectors.manifest = manifest
    index.effort = tuned.effort


def _tuned(
    index: VectorIndex, snapshot: Snapshot, queries: Vectors, recall: float, progress: Progress
) -> tuple[TunedIndex, Recall]:
    """Choose a setting by one half of the queries, and measure it with the other."""
    true = exact_neighbours(snapshot, queries, NEIGHBOURS)
    chosen_by, checked_with = halves(len(queries))
    before = index.effort
    try:
        settings = _Settings(index, snapshot, queries[chosen_by], true[chosen_by], recall, progress)
        best = settings.cheapest()
        index.effort = best.effort
        found = find(index, snapshot, queries[checked_with], best.oversampling)
    finally:
        index.effort = before
    reached = recall_of(found, true[checked_with])
    tuned = TunedIndex(
        recall=recall,
        measured=reached.mean,
        queries=reached.queries,
        passages=len(index),
        index=index.description,
        effort=best.effort,
        oversampling=best.oversampling,
    )
    return tuned, reached


class _Trial(NamedTuple):
    """A setting that was tried: what it found, and how long all searches took."""

    effort: int
    oversampling: float
    recall: Recall
    seconds: float


class _Settings:
    """The settings of an index that were tried, of which one is wanted that reaches a recall.

    Recall rises with effort and with oversampling, and so does what a search costs. So for each
    oversampling the least effort is looked for, and of these the fastest is taken.
    """

    def __init__(
        self,
        index: VectorIndex,
        snapshot: Snapshot,
        queries: Vectors,
        true: Sequence[VectorHits],
        recall: float,
        progress: Progress,
    ) -> None:
        self._index = index
        self._snapshot = snapshot
        self._queries = queries
        self._true = true
        self._recall = recall
        self._progress = progress
        self._tried: list[_Trial] = []

    def cheapest(self) -> _Trial:
        """Return the fastest setting that reaches the recall, or else the one of most recall."""
        exact = OVERSAMPLING[self._index.codes] == 1
        fastest: _Trial | None = None
        for oversampling in _OVERSAMPLINGS[:1] if exact else _OVERSAMPLINGS:
            trial = self._least_effort(oversampling, fastest.seconds if fastest else inf)
            # More candidates pay only where they save effort.
            if fastest and (
                trial is None or trial.effort >= fastest.effort or trial.seconds >= fastest.seconds
            ):
                break
            fastest = trial
        return fastest or max(self._tried, key=lambda each: (each.recall.mean, -each.seconds))

    def _least_effort(self, oversampling: float, seconds: float) -> _Trial | None:
        """Return the least effort that reaches the recall; None if none does within some time."""
        least, most = _efforts(self._index, oversampling)
        low, trial = least, self._try(least, oversampling)
        while not self._reaches(trial):
            if trial.effort == most or trial.seconds > seconds:
                return None
            low, last = trial.effort, trial
            trial = self._try(min(2 * low, most), oversampling)
            if self._is_hopeless(last.recall, trial, most):
                return None
        while trial.effort - low > max(1, trial.effort * _STEP):
            middle = self._try((low + trial.effort) // 2, oversampling)
            if self._reaches(middle):
                trial = middle
            else:
                low = middle.effort
        return trial

    def _is_hopeless(self, last: Recall, trial: _Trial, most: int) -> bool:
        """Whether the recall would be missed even if every doubling gained as much as the last.

        Beyond a half each gains less.
        """
        doublings = log2(most / trial.effort)
        gain = trial.recall.mean - last.mean
        return last.mean > 0.5 and trial.recall.mean + doublings * gain < self._recall

    def _try(self, effort: int, oversampling: float) -> _Trial:
        self._index.effort = effort
        began = perf_counter()
        found = find(self._index, self._snapshot, self._queries, oversampling)
        seconds = perf_counter() - began
        self._tried.append(_Trial(effort, oversampling, recall_of(found, self._true), seconds))
        self._progress("tuning", len(self._tried), None)
        return self._tried[-1]

    def _reaches(self, trial: _Trial) -> bool:
        return trial.recall.surely_reaches(self._recall)


def _efforts(index: VectorIndex, oversampling: float) -> tuple[int, int]:
    """Return the least and the most effort that makes a difference."""
    if index.kind == "flat":
        return 0, 0
    if index.kind == "ivf":
        (clusters,) = re.findall(r"IVF(\d+)", index.description)
        return 1, int(clusters)
    # HNSW goes as far as hits are wanted in any case.
    least = ceil(NEIGHBOURS * oversampling)
    return least, max(least, len(index))

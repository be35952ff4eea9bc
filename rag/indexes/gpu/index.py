"""A vector index that is searched on GPUs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from rag.core.protocols import Vectors
from rag.indexes.faiss_index import FaissIndex, Scores, checked_vectors
from rag.indexes.gpu.copying import Copy
from rag.indexes.gpu.faiss_gpu import named_failures
from rag.indexes.rwlock import ReadWriteLock
from rag.indexes.vectors import IntArray, Kind, VectorHits


class GpuIndex:
    """A `VectorIndex` that holds copies of an index on the CPU, its master, and searches them.

    The master answers whatever a copy cannot: searches beyond its limits, filters that leave too
    little of what is found, and queries for which too little was found. It takes all writes and
    is what is saved; a write lets the copies go, and the next search makes them anew. A copy
    takes one search at a time, since FAISS's GPU indexes are not safe in several threads.

    Args:
        master: The index on the CPU; it can be memory-mapped.
        device: Where the copies are, as in 'cuda:0,1'.
        copy: Copies the master.
        kind: Kind of the index.
        finish: Makes the master of the vectors that were added, once, when it is first needed;
            None where the master was that from the start.
    """

    def __init__(
        self,
        master: FaissIndex,
        device: str,
        copy: Callable[[FaissIndex], list[Copy]],
        kind: Kind,
        finish: Callable[[FaissIndex], FaissIndex] | None = None,
    ) -> None:
        self._unfinished = master
        self._finish = finish
        self._copy = copy
        self._lock = ReadWriteLock()
        self._copying = Lock()
        self._copies: list[Copy] = []
        self._turns = itertools.count()
        self.device = device
        self.kind = kind
        self.codes = master.codes
        self.metric = master.metric
        self.dimension = master.dimension
        self.mapped = master.mapped

    @property
    def _master(self) -> FaissIndex:
        with self._copying:
            if self._finish is not None:
                with named_failures(self.device):
                    self._unfinished = self._finish(self._unfinished)
                self._finish = None
            return self._unfinished

    @property
    def description(self) -> str:
        """What was built; see `VectorIndex`."""
        with self._lock.reading():
            return self._master.description

    @property
    def effort(self) -> int:
        """How far a search goes; see `VectorIndex`."""
        with self._lock.reading():
            return self._master.effort

    @effort.setter
    def effort(self, effort: int) -> None:
        with self._lock.writing():
            self._master.effort = effort

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._unfinished)

    def ids(self) -> IntArray:
        """Return the ids of all vectors, ascending."""
        return self._unfinished.ids()

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add vectors; see `VectorIndex.add`."""
        with self._lock.writing():
            self._copies = []
            with named_failures(self.device):
                self._unfinished.add(ids, vectors)

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove vectors; see `VectorIndex.remove`."""
        with self._lock.writing():
            self._copies = []
            return self._unfinished.remove(ids)

    def save(self, path: Path) -> None:
        """Write the index to a file, which opens without a GPU too; see `VectorIndex.save`."""
        with self._lock.reading():
            self._master.save(path)

    def search(
        self, queries: npt.ArrayLike, top_k: int, ids: npt.ArrayLike | None = None
    ) -> list[VectorHits]:
        """Find the vectors nearest to each query; see `VectorIndex.search`.

        Raises:
            InputError: An argument cannot be used.
            SearchFailed: The GPU failed.
        """
        asked = checked_vectors(queries, self.dimension, "queries")
        with self._lock.reading():
            hits = self._on_gpu(asked, top_k, ids)
            short = [row for row, each in enumerate(hits) if each is None]
            if short or not len(asked):
                on_cpu = self._master.search(asked[short], top_k, ids)
                for row, each in zip(short, on_cpu, strict=True):
                    hits[row] = each
        return [each for each in hits if each is not None]

    def _on_gpu(
        self, queries: Vectors, top_k: int, ids: npt.ArrayLike | None
    ) -> list[VectorHits | None]:
        """Return the hits of each query, or None where the GPU cannot tell that it has them all."""
        nothing: list[VectorHits | None] = [None] * len(queries)
        vectors = len(self)
        # One more than wanted shows whether equal scores go on.
        count, effort = min(top_k + 1, vectors), self._master.effort
        allowed = None
        if ids is not None:
            allowed = _ascending(np.asarray(ids))
            # Filters are applied to what is found, so more has to be found, and farther off.
            if not len(allowed) or not vectors:
                return nothing
            share = min(1.0, len(allowed) / vectors)
            count, effort = math.ceil(2 * top_k / share), math.ceil(effort / share)
        if top_k < 1 or not 0 < count <= vectors or not len(queries):
            return nothing
        with named_failures(self.device):
            copy = self._next_copy()
            if count > copy.most or effort > copy.farthest:
                return nothing
            scores, found = copy.search(queries, count, effort)
        if self.metric == "l2":
            scores = -scores
        wanted, all_found = min(top_k, vectors), count == vectors
        return [_kept(*row, wanted, allowed, all_found) for row in zip(found, scores, strict=True)]

    def _next_copy(self) -> Copy:
        master = self._master
        with self._copying:
            if not self._copies:
                self._copies = self._copy(master)
        return self._copies[next(self._turns) % len(self._copies)]


def _ascending(ids: IntArray) -> IntArray:
    ascending = bool((ids[1:] > ids[:-1]).all())
    return ids if ascending else np.unique(ids)


def _kept(
    ids: IntArray, scores: Scores, wanted: int, allowed: IntArray | None, all_found: bool
) -> VectorHits | None:
    """Return the hits wanted of those found, or None where others may belong among them."""
    order = np.lexsort((ids, -scores))
    ids, scores = ids[order], scores[order]
    usable = ids >= 0
    if allowed is not None:
        places = np.minimum(np.searchsorted(allowed, ids), len(allowed) - 1)
        usable &= allowed[places] == ids
    best = np.flatnonzero(usable)[:wanted]
    if len(best) < wanted or (not all_found and scores[best[-1]] == scores[-1]):
        return None
    return VectorHits(ids[best], scores[best])

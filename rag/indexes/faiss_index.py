"""What the FAISS indexes of every kind share: checks, locking, threads, short results."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes.faiss_file import StoredIndex, write_index
from rag.indexes.id_table import IdTable
from rag.indexes.rwlock import ReadWriteLock
from rag.indexes.vectors import Codes, IntArray, Kind, Metric, VectorHits

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")

Scores = npt.NDArray[np.float32]

_PARALLEL_QUERIES = 16  # from here on threads gain more than they cost concurrent requests
_MOST_TIES = 1000  # equal scores that are told apart; beyond, any of them are returned
_MAX_SQUARED_LENGTH = 1e37  # scores of shorter vectors are finite in float32
_PROCESS = os.getpid()

# Matrix products score a batch several times as fast from a dozen long queries on; of itself FAISS
# turns to them when a batch holds 128,000 numbers.
faiss.cvar.distance_compute_blas_threshold = 10_000


class FaissIndex(ABC):
    """A `VectorIndex` on FAISS, on the CPU.

    A subclass says how FAISS knows a vector (its key: a position or the id itself) and how to
    find the nearest keys; `_index` takes ids and is what a file holds.

    Args:
        index: The FAISS index; nothing else may write to it.
        kind: How vectors are found.
        codes: How they were asked to be held.
        mapped: Whether FAISS reads vectors from a file.
    """

    kind: Kind
    codes: Codes
    description: str
    device = "cpu"

    def __init__(self, index: Any, kind: Kind, codes: Codes, *, mapped: bool = False) -> None:
        self._index = index
        self.kind = kind
        self.codes = codes
        self.mapped = mapped
        self.dimension = int(index.d)
        is_product = index.metric_type == faiss.METRIC_INNER_PRODUCT
        self.metric: Metric = "inner_product" if is_product else "l2"
        self._lock = ReadWriteLock()
        self._known: IdTable | None = None

    @property
    @abstractmethod
    def effort(self) -> int:
        """How far a search goes; see `VectorIndex.effort`. It is saved with the index."""

    @effort.setter
    @abstractmethod
    def effort(self, effort: int) -> None: ...

    @abstractmethod
    def _stored(self) -> IdTable:
        """Read from FAISS which ids are in use."""

    def _append(self, vectors: Vectors, ids: IntArray) -> None:
        self._index.add_with_ids(vectors, ids)

    @abstractmethod
    def _added_keys(self, ids: IntArray) -> IntArray:
        """Return the keys of the ids that were added last."""

    @abstractmethod
    def _delete(self, ids: IntArray, keys: IntArray) -> None:
        """Delete vectors that are there."""

    @abstractmethod
    def _undo_add(self, ids: IntArray) -> None:
        """Delete what an add that failed has left behind."""

    @abstractmethod
    def _nearest(
        self, queries: Vectors, count: int, allowed: IntArray | None, *, exhaustive: bool = False
    ) -> tuple[Scores, IntArray]:
        """Find the keys nearest to each query.

        Args:
            queries: float32 of shape (n, dimension).
            count: Keys for each query; so many can be found.
            allowed: The only keys that may be returned, each once; None allows all.
            exhaustive: Whether to compare with every vector that may be returned.

        Returns:
            Scores as FAISS gives them, and keys, of shape (n, count), best first; -1 where an
            approximate search has found fewer.
        """

    @abstractmethod
    def _ids_of(self, keys: IntArray) -> IntArray:
        """Return the ids of keys, in the same shape."""

    def __len__(self) -> int:
        """Return the number of vectors."""
        return int(self._index.ntotal)

    def ids(self) -> IntArray:
        """Return the ids of all vectors, ascending."""
        with self._lock.reading():
            return self._table.ids.copy()

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add vectors; see `VectorIndex.add`."""
        self._refuse_if_mapped()
        new_ids = _checked_ids(ids)
        new_vectors = self._checked(vectors, "vectors")
        if len(new_ids) != len(new_vectors):
            raise InputError(f"{len(new_ids)} ids were given for {len(new_vectors)} vectors")
        if len(new_ids) and new_ids.min() < 0:
            raise InputError(f"id {new_ids.min()} is negative; ids start at 0")
        _refuse_repeated(new_ids)
        with self._lock.writing():
            table = self._table
            known = table.find(new_ids)
            if len(known):
                raise InputError(
                    f"id {table.ids[known[0]]} is in the index already; remove it first"
                )
            self._known = None
            try:
                with openmp_threads(len(new_ids)):
                    self._append(new_vectors, new_ids)
            except BaseException:  # Ctrl-C stops FAISS half way
                self._undo_add(new_ids)
                raise
            self._known = table.extended(new_ids, self._added_keys(new_ids))

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove vectors; see `VectorIndex.remove`."""
        self._refuse_if_mapped()
        unwanted = _checked_ids(ids)
        with self._lock.writing():
            table = self._table
            known = table.find(unwanted)
            if len(known):
                self._known = None
                with openmp_threads(1):
                    self._delete(table.ids[known], table.keys[known])
            return len(known)

    def search(
        self, queries: npt.ArrayLike, top_k: int, ids: npt.ArrayLike | None = None
    ) -> list[VectorHits]:
        """Find the vectors nearest to each query; see `VectorIndex.search`."""
        asked = self._checked(queries, "queries")
        if top_k < 1:
            raise InputError(f"top_k is {top_k}; it must be at least 1")
        with self._lock.reading():
            allowed = None
            if ids is not None:
                allowed = self._table.keys[self._table.find(_checked_ids(ids))]
            most = len(self) if allowed is None else len(allowed)
            if not most or not len(asked):
                nothing = VectorHits(np.empty(0, np.int64), np.empty(0, np.float32))
                return [nothing] * len(asked)
            count = min(top_k, most)
            with openmp_threads(len(asked)):
                return self._ranked(asked, count, most, allowed, min(count + 1, most))

    def _ranked(
        self, queries: Vectors, count: int, most: int, allowed: IntArray | None, depth: int
    ) -> list[VectorHits]:
        """Return `count` hits for each query, from `depth` of them; equal scores by id."""
        scores, keys = self._nearest(queries, depth, allowed)
        short = keys[:, count - 1] < 0
        if short.any():
            scores[short], keys[short] = self._nearest(
                queries[short], depth, allowed, exhaustive=True
            )
        if self.metric == "l2":
            scores = -scores
        ids = self._ids_of(keys)
        tied = (scores[:, 1:] == scores[:, :-1]).any(axis=1)
        if tied.any():
            order = np.lexsort((ids[tied], -scores[tied]), axis=1)
            ids[tied] = np.take_along_axis(ids[tied], order, axis=1)
        found = [VectorHits(*row) for row in zip(ids[:, :count], scores[:, :count], strict=True)]
        if depth < min(most, _MOST_TIES):
            # FAISS takes any of those with equal scores, so all of them have to be seen.
            open_ended = np.flatnonzero(scores[:, -1] == scores[:, count - 1])
            if len(open_ended):
                deeper = self._ranked(
                    queries[open_ended], count, most, allowed, min(4 * depth, most)
                )
                for row, hits in zip(open_ended.tolist(), deeper, strict=True):
                    found[row] = hits
        return found

    def save(self, path: Path) -> None:
        """Write the index to a file; see `VectorIndex.save`."""
        with self._lock.reading():
            write_index(StoredIndex(self._index, self.kind, self.codes), path)

    def contents(self) -> Any:
        """Return the FAISS index that is saved, to be copied and not to be changed."""
        return self._index

    @property
    def _table(self) -> IdTable:
        # Built when first needed: a mapped index that is only searched never needs it.
        table = self._known
        if table is None:
            table = self._known = self._stored()
        return table

    def _refuse_if_mapped(self) -> None:
        # FAISS would abort the process.
        if self.mapped:
            raise InputError("a memory-mapped index is read-only; load it with mapped=False")

    def _checked(self, vectors: npt.ArrayLike, name: str) -> Vectors:
        return checked_vectors(vectors, self.dimension, name)


def checked_vectors(vectors: npt.ArrayLike, dimension: int, name: str) -> Vectors:
    """Return vectors as FAISS reads them, C-contiguous float32, copied only where they are not.

    Raises:
        InputError: They are not finite vectors of the dimension.
    """
    array = np.asarray(vectors)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} must be numbers, not {array.dtype}")
    if array.ndim != 2:
        raise InputError(f"{name} must have shape (n, {dimension}), not {array.shape}")
    if array.shape[1] != dimension:
        raise InputError(f"{name} have dimension {array.shape[1]}; the index has {dimension}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    # One pass without a temporary of the vectors' size; false for NaN too.
    usable = np.einsum("ij,ij->i", array, array) < _MAX_SQUARED_LENGTH
    if not usable.all():
        row = int(np.argmin(usable))
        raise InputError(f"row {row} of {name} holds NaN, infinity or numbers too large to score")
    return array


def _checked_ids(ids: npt.ArrayLike) -> IntArray:
    array = np.asarray(ids)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iu"):
        raise InputError(f"ids must be integers of shape (n,), not {array.dtype} {array.shape}")
    return np.ascontiguousarray(array, dtype=np.int64)


def _refuse_repeated(ids: IntArray) -> None:
    ascending = np.sort(ids)
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(repeated):
        raise InputError(f"id {repeated[0]} is given more than once")


@contextmanager
def openmp_threads(items: int) -> Iterator[None]:
    """Let FAISS use one thread for a few items, and the caller's number for a batch.

    OpenMP threads gain nothing on a single query and cost concurrent requests dearly. A forked
    child never gets more than one: it lacks its parent's threads and would wait for them.
    OpenMP keeps the number for each calling thread, so this disturbs no other.
    """
    if items >= _PARALLEL_QUERIES and os.getpid() == _PROCESS:
        yield
        return
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

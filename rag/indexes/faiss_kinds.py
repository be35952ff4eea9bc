"""The kinds of FAISS index: flat, HNSW, IVF and IVF-PQ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes.faiss_index import FaissIndex, Scores
from rag.indexes.id_table import IdTable
from rag.indexes.vectors import IntArray

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")


class FlatIndex(FaissIndex):
    """Compares with every vector: exact. A key is a position; FAISS's id map holds its id."""

    def __init__(self, index: Any, kind: str, *, mapped: bool = False) -> None:
        super().__init__(index, kind, mapped=mapped)
        self._flat = faiss.downcast_index(index.index)
        self.description = "Flat"

    @property
    def _id_map(self) -> IntArray:
        return _int_view(self._index.id_map.data(), self._index.id_map.size())

    def _stored(self) -> IdTable:
        keys = np.flatnonzero(self._id_map >= 0)
        return IdTable(self._id_map[keys], keys)

    def _added_keys(self, ids: IntArray) -> IntArray:
        return np.arange(self._index.ntotal - len(ids), self._index.ntotal)

    def _delete(self, ids: IntArray, keys: IntArray) -> None:
        self._index.remove_ids(faiss.IDSelectorBatch(ids))

    def _undo_add(self, ids: IntArray) -> None:
        # The vectors are there and their ids are not: give them one that stands for none.
        before, total = len(self._id_map), self._index.index.ntotal
        self._index.id_map.resize(total)
        self._index.ntotal = total
        self._id_map[before:] = -1
        self._delete(np.array([-1]), np.arange(before, total))

    def _nearest(
        self, queries: Vectors, count: int, allowed: IntArray | None, *, exhaustive: bool = False
    ) -> tuple[Scores, IntArray]:
        params = None
        if allowed is not None:
            # Given an array of positions, FAISS computes their scores and no others.
            params = faiss.SearchParameters(sel=faiss.IDSelectorArray(allowed))
        scores, keys = self._flat.search(queries, count, params=params)
        return scores, keys

    def _ids_of(self, keys: IntArray) -> IntArray:
        return self._id_map[keys]


class HnswIndex(FlatIndex):
    """Walks a graph of neighbours (arXiv 1603.09320).

    FAISS cannot take a vector out of the graph, so a removed one stays as a waypoint: its id
    becomes -1 in the id map, and searches pass it by. Building the index again frees it.
    """

    def __init__(self, index: Any, kind: str, *, mapped: bool = False) -> None:
        super().__init__(index, kind, mapped=mapped)
        self._graph = faiss.downcast_index(index.index)
        self._flat = faiss.downcast_index(self._graph.storage)
        hnsw = self._graph.hnsw
        self.description = f"HNSW{hnsw.nb_neighbors(1)},Flat efSearch={hnsw.efSearch}"
        self._count_removed()

    def __len__(self) -> int:
        """Return the number of vectors."""
        return super().__len__() - self._removed

    def _count_removed(self) -> None:
        removed = self._id_map < 0
        self._removed = int(np.count_nonzero(removed))
        self._alive = faiss.IDSelectorNot(_bitmap(removed)) if self._removed else None

    def _delete(self, ids: IntArray, keys: IntArray) -> None:
        self._id_map[keys] = -1
        self._count_removed()

    def _nearest(
        self, queries: Vectors, count: int, allowed: IntArray | None, *, exhaustive: bool = False
    ) -> tuple[Scores, IntArray]:
        candidates = len(self) if allowed is None else len(allowed)
        share = candidates / self._index.ntotal
        # Where only a share of what a graph search meets may be returned, it has to go further.
        reach = math.ceil(max(count, self._graph.hnsw.efSearch) / share)
        if exhaustive or candidates <= reach * self._graph.hnsw.nb_neighbors(1):
            # Scoring each of them takes no longer then, and is exact.
            if allowed is None and self._removed:
                allowed = self._table.keys
            return super()._nearest(queries, count, allowed)
        selector = self._alive
        if allowed is not None:
            mask = np.zeros(self._index.ntotal, dtype=bool)
            mask[allowed] = True
            selector = _bitmap(mask)
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=reach)
        scores, keys = self._graph.search(queries, count, params=params)
        return scores, keys


class InvertedIndex(FaissIndex):
    """Compares with the vectors, whole or compressed, of the nearest clusters; a key is the id."""

    def __init__(self, index: Any, kind: str, *, mapped: bool = False) -> None:
        super().__init__(index, kind, mapped=mapped)
        codes = f"PQ{index.pq.M}" if isinstance(index, faiss.IndexIVFPQ) else "Flat"
        self.description = f"IVF{index.nlist},{codes} nprobe={index.nprobe}"

    def _stored(self) -> IdTable:
        lists = self._index.invlists
        ids = np.concatenate(
            [
                _int_view(lists.get_ids(each), lists.list_size(each))
                for each in range(self._index.nlist)
            ]
        )
        return IdTable(ids, ids)

    def _added_keys(self, ids: IntArray) -> IntArray:
        return ids

    def _delete(self, ids: IntArray, keys: IntArray) -> None:
        self._index.remove_ids(faiss.IDSelectorBatch(ids))

    def _undo_add(self, ids: IntArray) -> None:
        self._delete(ids, ids)

    def _nearest(
        self, queries: Vectors, count: int, allowed: IntArray | None, *, exhaustive: bool = False
    ) -> tuple[Scores, IntArray]:
        index = self._index
        share, selector = 1.0, None
        if allowed is not None:
            share, selector = len(allowed) / len(self), faiss.IDSelectorBatch(allowed)
        probes = index.nlist if exhaustive else min(index.nlist, math.ceil(index.nprobe / share))
        params = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        scores, keys = index.search(queries, count, params=params)
        return scores, keys

    def _ids_of(self, keys: IntArray) -> IntArray:
        return keys


def _bitmap(mask: npt.NDArray[np.bool_]) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def _int_view(pointer: Any, size: int) -> IntArray:
    # FAISS makes a view of nothing an array of floats.
    return np.asarray(faiss.rev_swig_ptr(pointer, size), dtype=np.int64)

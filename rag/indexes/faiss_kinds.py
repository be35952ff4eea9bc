"""The kinds of FAISS index: flat, HNSW and IVF."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes.faiss_index import FaissIndex, Scores
from rag.indexes.id_table import IdTable
from rag.indexes.vectors import Codes, IntArray, Kind

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")
add_preassigned = require(
    "faiss.contrib.ivf_tools", extra="cpu", package="faiss-cpu", needed_for="A vector index"
).add_preassigned


_PART = 1 / 16
"""Codes are copied out where a smaller share of them is allowed; else all are looked through."""


class FlatIndex(FaissIndex):
    """Compares with every vector. A key is a position; FAISS's id map holds its id."""

    def __init__(self, index: Any, kind: Kind, codes: Codes, *, mapped: bool = False) -> None:
        super().__init__(index, kind, codes, mapped=mapped)
        self._flat = faiss.downcast_index(index.index)
        self.description = _encoding(self._flat)

    @property
    def effort(self) -> int:
        """Always 0: every vector is compared with."""
        return 0

    @effort.setter
    def effort(self, effort: int) -> None:
        if effort != 0:
            raise InputError(f"effort is {effort}; an index that compares with all has only 0")

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
        if allowed is None:
            scores, keys = self._flat.search(queries, count)
        elif isinstance(self._flat, faiss.IndexFlat):
            # Given an array of positions, FAISS computes their scores and no others.
            params = faiss.SearchParameters(sel=faiss.IDSelectorArray(allowed))
            scores, keys = self._flat.search(queries, count, params=params)
        elif len(allowed) < _PART * self._index.ntotal:
            scores, places = self._part(allowed).search(queries, count)
            keys = allowed[places]
        else:
            # For other codes, it looks each of their positions up in the array.
            params = faiss.SearchParameters(sel=self._selector(allowed))
            scores, keys = self._flat.search(queries, count, params=params)
        return scores, keys

    def _part(self, keys: IntArray) -> Any:
        """Copy some of the codes into an index of their own."""
        quantizer = self._flat.sq
        part = faiss.IndexScalarQuantizer(self.dimension, quantizer.qtype, self._flat.metric_type)
        part.sq, part.is_trained = quantizer, True
        codes = faiss.rev_swig_ptr(self._flat.codes.data(), self._flat.codes.size())
        part.add_sa_codes(codes.reshape(-1, self._flat.code_size)[keys])
        return part

    def _selector(self, keys: IntArray) -> Any:
        """Select keys, at the price of a bit for each vector."""
        mask = np.zeros(self._index.ntotal, dtype=bool)
        mask[keys] = True
        return _bitmap(mask)

    def _ids_of(self, keys: IntArray) -> IntArray:
        return self._id_map[keys]


class HnswIndex(FlatIndex):
    """Walks a graph of neighbours (arXiv 1603.09320).

    FAISS cannot take a vector out of the graph, so a removed one stays as a waypoint: its id
    becomes -1 in the id map, and searches pass it by. Building the index again frees it.
    """

    def __init__(self, index: Any, kind: Kind, codes: Codes, *, mapped: bool = False) -> None:
        super().__init__(index, kind, codes, mapped=mapped)
        self._graph = faiss.downcast_index(index.index)
        self._flat = faiss.downcast_index(self._graph.storage)
        neighbours = self._graph.hnsw.nb_neighbors(1)
        self.description = f"HNSW{neighbours},{_encoding(self._flat)}"
        self._count_removed()

    @property
    def effort(self) -> int:
        """How many candidates a search keeps."""
        return int(self._graph.hnsw.efSearch)

    @effort.setter
    def effort(self, effort: int) -> None:
        if effort < 1:
            raise InputError(f"effort is {effort}; a search keeps at least 1 candidate")
        self._graph.hnsw.efSearch = effort

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
        reach = math.ceil(max(count, self.effort) / share)
        if exhaustive or candidates <= reach * self._graph.hnsw.nb_neighbors(1):
            # Scoring each of them takes no longer then, and is exact.
            if allowed is None and self._removed:
                allowed = self._table.keys
            return super()._nearest(queries, count, allowed)
        selector = self._alive if allowed is None else self._selector(allowed)
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=reach)
        scores, keys = self._graph.search(queries, count, params=params)
        return scores, keys


class InvertedIndex(FaissIndex):
    """Compares with the vectors, whole or compressed, of the nearest clusters; a key is the id.

    Args:
        index: The FAISS index.
        kind: How vectors are found.
        codes: How they were asked to be held.
        mapped: Whether FAISS reads vectors from a file.
        centres: An index of the clusters' centres, on a GPU, that finds the cluster of each vector
            that is added; None leaves it to `index`.
    """

    def __init__(
        self,
        index: Any,
        kind: Kind,
        codes: Codes,
        *,
        mapped: bool = False,
        centres: Any = None,
    ) -> None:
        super().__init__(index, kind, codes, mapped=mapped)
        self.description = f"IVF{index.nlist},{_encoding(index)}"
        self._centres = centres

    @property
    def effort(self) -> int:
        """How many clusters a search probes."""
        return int(self._index.nprobe)

    @effort.setter
    def effort(self, effort: int) -> None:
        if not 1 <= effort <= self._index.nlist:
            raise InputError(
                f"effort is {effort}; a search probes 1 to {self._index.nlist} clusters"
            )
        self._index.nprobe = effort

    def _stored(self) -> IdTable:
        lists = self._index.invlists
        ids = np.concatenate(
            [
                _int_view(lists.get_ids(each), lists.list_size(each))
                for each in range(self._index.nlist)
            ]
        )
        return IdTable(ids, ids)

    def _append(self, vectors: Vectors, ids: IntArray) -> None:
        if self._centres is None or not len(ids):
            super()._append(vectors, ids)
        else:
            clusters = self._centres.assign(vectors, 1).ravel()
            add_preassigned(self._index, vectors, clusters, ids)

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
        probes = index.nlist if exhaustive else min(index.nlist, math.ceil(self.effort / share))
        params = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        scores, keys = index.search(queries, count, params=params)
        return scores, keys

    def _ids_of(self, keys: IntArray) -> IntArray:
        return keys


def _encoding(index: Any) -> str:
    """Say in the words of FAISS how an index holds vectors."""
    if hasattr(index, "pq"):
        return f"PQ{index.pq.M}"
    if hasattr(index, "sq"):
        return {faiss.ScalarQuantizer.QT_fp16: "SQfp16"}.get(index.sq.qtype, "SQ8")
    return "Flat"


def _bitmap(mask: npt.NDArray[np.bool_]) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def _int_view(pointer: Any, size: int) -> IntArray:
    # FAISS makes a view of nothing an array of floats.
    return np.asarray(faiss.rev_swig_ptr(pointer, size), dtype=np.int64)

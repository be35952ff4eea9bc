"""Copies of an index on GPUs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes.faiss_index import FaissIndex, Scores
from rag.indexes.gpu import faiss_gpu
from rag.indexes.gpu.devices import Gpu
from rag.indexes.placement import gpu_bytes, usable
from rag.indexes.vectors import IntArray

faiss = require("faiss", extra="gpu", package="faiss-gpu", needed_for="A vector index on a GPU")

MOST = 2048
"""The most neighbours, and the most clusters, that FAISS's kernels pick."""
_CAGRA_MOST = 512
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of an index; it takes one search at a time, and knows no filters.

    Args:
        index: What FAISS made.
        ids: The id of each position that it returns; None where it returns ids.
        most: The most neighbours that it returns.
        farthest: The greatest effort that it takes.
        parameters: FAISS's search parameters for a number of neighbours and an effort.
    """

    index: Any
    ids: IntArray | None
    most: int
    farthest: float
    parameters: Callable[[int, int], Any]
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def search(self, queries: Vectors, count: int, effort: int) -> tuple[Scores, IntArray]:
        """Find the nearest to each query.

        Returns:
            Scores as FAISS gives them, and ids, of shape (n, count), best first; the id is -1
            where fewer were found.
        """
        with self._lock:
            scores, found = self.index.search(queries, count, params=self.parameters(count, effort))
        if self.ids is not None:
            found = np.where(found < 0, -1, self.ids[found])
        return scores, found


def copies(master: FaissIndex, gpus: Sequence[Gpu]) -> list[Copy]:
    """Copy an index to each of some GPUs, or a part to each where one cannot hold it all.

    Args:
        master: The index; it must not change meanwhile.
        gpus: The GPUs.

    Returns:
        Copies that can be searched at the same time.
    """
    size = gpu_bytes(
        len(master), master.dimension, master.kind, master.codes, cuvs=faiss_gpu.has_cuvs()
    )
    numbers = [each.number for each in gpus]
    copy = _clusters if master.kind == "ivf" else _vectors
    if all(size <= usable(each) for each in gpus):
        return [copy(master, [each]) for each in numbers]
    return [copy(master, numbers)]


def _clusters(master: FaissIndex, numbers: Sequence[int]) -> Copy:
    index = master.contents()

    def parameters(_: int, effort: int) -> Any:
        return faiss.SearchParametersIVF(nprobe=min(index.nlist, effort))

    farthest = MOST if index.nlist > MOST else math.inf
    return Copy(faiss_gpu.clustered(index, numbers), None, MOST, farthest, parameters)


def _vectors(master: FaissIndex, numbers: Sequence[int]) -> Copy:
    index = master.contents()
    ids = faiss.rev_swig_ptr(index.id_map.data(), index.id_map.size())
    positions = np.flatnonzero(ids >= 0)  # those removed from a graph have none
    storage = faiss.downcast_index(index.index)
    if master.kind == "hnsw":
        storage = faiss.downcast_index(storage.storage)
    graph = master.kind == "hnsw" and faiss_gpu.has_cuvs()
    half = master.codes != "float32"
    shards = []
    for number, part in zip(numbers, np.array_split(positions, len(numbers)), strict=True):
        blocks = _blocks(storage, part)
        if graph:
            shard = faiss_gpu.cagra(number, storage.d, storage.metric_type)
            shard.train(np.concatenate(list(blocks)))
        else:
            shard = faiss_gpu.flat(number, storage.d, storage.metric_type, half=half)
            for block in blocks:
                shard.add(block)
        shards.append(shard)
    if graph:
        return Copy(_joined(shards), ids[positions], _CAGRA_MOST, _CAGRA_MOST, _candidates)
    return Copy(_joined(shards), ids[positions], MOST, math.inf, _none)


def _blocks(storage: Any, positions: IntArray) -> Iterator[Vectors]:
    """Yield the vectors at ascending positions, as they lie in memory where that can be."""
    if len(positions) == storage.ntotal and isinstance(storage, faiss.IndexFlat):
        yield faiss.rev_swig_ptr(storage.get_xb(), storage.ntotal * storage.d).reshape(
            -1, storage.d
        )
        return
    for first in range(0, len(positions), _BLOCK):
        yield storage.reconstruct_batch(positions[first : first + _BLOCK])


def _joined(shards: Sequence[Any]) -> Any:
    if len(shards) == 1:
        return shards[0]
    joined = faiss.IndexShards(shards[0].d, True, True)  # all at once; positions follow on
    for each in shards:
        joined.add_shard(each)
    return joined


def _none(*_: int) -> None:
    """Return no parameters: an exact search has none."""


def _candidates(count: int, effort: int) -> Any:
    # CAGRA keeps candidates in groups of 32.
    return faiss.SearchParametersCagra(itopk_size=-(-max(count, effort) // 32) * 32)

"""Building a neighbour graph on a GPU (CAGRA, arXiv 2308.15136) that CPUs search as HNSW."""

from __future__ import annotations

import numpy as np

from rag.core.extras import require
from rag.indexes import faiss_create
from rag.indexes.faiss_index import FaissIndex
from rag.indexes.faiss_kinds import HnswIndex
from rag.indexes.gpu import faiss_gpu

faiss = require("faiss", extra="gpu", package="faiss-gpu", needed_for="A vector index on a GPU")

_NEIGHBOURS = 64  # of a vector, as CAGRA links it


def linked(flat: FaissIndex, number: int) -> FaissIndex:
    """Link vectors to a graph on a GPU; for a moment they are held twice.

    Args:
        flat: An exact index in float32.
        number: The GPU.

    Returns:
        The graph, on the CPU.
    """
    index = flat.contents()
    storage = faiss.downcast_index(index.index)
    vectors = faiss.rev_swig_ptr(storage.get_xb(), index.ntotal * flat.dimension)
    vectors = vectors.reshape(index.ntotal, flat.dimension)
    ids = np.array(faiss.rev_swig_ptr(index.id_map.data(), index.ntotal), np.int64)
    built_here = faiss_create.create(
        flat.dimension, "hnsw", "float32", flat.metric, index.ntotal, None
    )
    if index.ntotal <= 2 * _NEIGHBOURS:
        built_here.add(ids, vectors)
        return built_here
    on_gpu = faiss_gpu.cagra(number, storage.d, storage.metric_type)
    on_gpu.train(vectors)
    graph = faiss.IndexHNSWCagra(storage.d, _NEIGHBOURS // 2, storage.metric_type)
    with_ids = faiss.IndexIDMap(graph)  # takes no index that has vectors already
    on_gpu.copyTo(graph)
    defaults = faiss.downcast_index(built_here.contents().index).hnsw
    graph.hnsw.efConstruction, graph.hnsw.efSearch = defaults.efConstruction, defaults.efSearch
    faiss.copy_array_to_vector(ids, with_ids.id_map)
    with_ids.ntotal = index.ntotal
    return HnswIndex(with_ids, "hnsw", "float32")

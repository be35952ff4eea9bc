"""Creating FAISS indexes, with parameters chosen by size, and loading them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes.faiss_file import read_index
from rag.indexes.faiss_index import FaissIndex, checked_vectors, openmp_threads
from rag.indexes.faiss_kinds import FlatIndex, HnswIndex, InvertedIndex
from rag.indexes.vectors import Kind, Metric

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")

# Chosen for at least 0.95 of the true 10 nearest on embeddings of sentences.
_NEIGHBOURS = 32
_EF_CONSTRUCTION = 100
_EF_SEARCH = 128
_PROBES = 4  # times the square root of the number of clusters
_POINTS_PER_CLUSTER = 39  # FAISS warns of poor clusters below
_PQ_CENTROIDS = 256


def create(
    dimension: int,
    kind: Kind,
    metric: Metric,
    size_hint: int | None,
    training: Vectors | None,
) -> FaissIndex:
    """Create an empty index; see `rag.indexes.vectors.create_index`."""
    faiss_metric = faiss.METRIC_INNER_PRODUCT if metric == "inner_product" else faiss.METRIC_L2
    if kind in ("ivf", "pq"):
        if training is None:
            raise InputError(f"an index of kind '{kind}' needs a sample of vectors as `training`")
        sample = checked_vectors(training, dimension, "training vectors")
        return InvertedIndex(_trained(dimension, kind, faiss_metric, size_hint, sample), kind)
    if kind == "flat":
        flat = faiss.IndexFlat(dimension, faiss_metric)
        _reserve(flat, size_hint)
        return FlatIndex(faiss.IndexIDMap(flat), kind)
    graph = faiss.IndexHNSWFlat(dimension, _NEIGHBOURS, faiss_metric)
    graph.hnsw.efConstruction = _EF_CONSTRUCTION
    graph.hnsw.efSearch = _EF_SEARCH
    _reserve(faiss.downcast_index(graph.storage), size_hint)
    return HnswIndex(faiss.IndexIDMap(graph), kind)


def load(path: Path, *, mapped: bool) -> FaissIndex:
    """Load a saved index; see `rag.indexes.vectors.load_index`."""
    index, kind = read_index(path, mapped=mapped)
    if not isinstance(index, faiss.IndexIDMap):
        return InvertedIndex(index, kind, mapped=mapped)
    is_graph = isinstance(faiss.downcast_index(index.index), faiss.IndexHNSW)
    return (HnswIndex if is_graph else FlatIndex)(index, kind, mapped=mapped)


def _reserve(flat: Any, size_hint: int | None) -> None:
    # Growing a vector step by step would hold old and new copy at once. There is no `reserve`,
    # but shrinking keeps the memory.
    if size_hint:
        flat.codes.resize(size_hint * flat.code_size)
        flat.codes.resize(0)


def _trained(
    dimension: int, kind: Kind, faiss_metric: int, size_hint: int | None, sample: Vectors
) -> Any:
    samples = len(sample)
    # 4 to 16 times √n is FAISS's own advice for up to a million vectors.
    lists = max(1, min(4 * math.isqrt(size_hint or samples), samples // _POINTS_PER_CLUSTER))
    quantizer = faiss.IndexFlat(dimension, faiss_metric)
    if kind == "pq" and samples >= _POINTS_PER_CLUSTER * _PQ_CENTROIDS:
        part = next((size for size in range(2, dimension + 1) if dimension % size == 0), 1)
        index = faiss.IndexIVFPQ(quantizer, dimension, lists, dimension // part, 8, faiss_metric)
        # A fifth of the work of FAISS's defaults, which take minutes for hundreds of parts.
        index.pq.cp.niter = 10
        index.pq.cp.max_points_per_centroid = 128
    else:
        index = faiss.IndexIVFFlat(quantizer, dimension, lists, faiss_metric)
    index.nprobe = min(lists, _PROBES * math.isqrt(lists))
    index.cp.min_points_per_centroid = 1  # a single cluster needs no more
    with openmp_threads(samples):
        index.train(sample if samples else np.zeros((1, dimension), np.float32))
    return index

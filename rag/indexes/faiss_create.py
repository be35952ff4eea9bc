"""Creating FAISS indexes, with parameters chosen by size, and loading them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes.faiss_file import read_index
from rag.indexes.faiss_index import FaissIndex, checked_vectors, openmp_threads
from rag.indexes.faiss_kinds import FlatIndex, HnswIndex, InvertedIndex
from rag.indexes.vectors import Codes, Kind, Metric, cluster_count, pq_parts

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")

# Chosen for at least 0.95 of the true 10 nearest on embeddings of sentences.
_NEIGHBOURS = 32
_EF_CONSTRUCTION = 100
_EF_SEARCH = 128
_PROBES = 4  # times the square root of the number of clusters
_PQ_SAMPLES = 39 * 256  # FAISS warns of poor codes below
_MARGIN = 0.1  # of the range of a sample's numbers, on both sides, for those of later vectors
_QUANTIZERS = {
    "float16": faiss.ScalarQuantizer.QT_fp16,
    # One range for all dimensions: half the work of a range for each, and vectors unlike those
    # that it was learnt from lose less.
    "int8": faiss.ScalarQuantizer.QT_8bit_uniform,
}


def create(
    dimension: int,
    kind: Kind,
    codes: Codes,
    metric: Metric,
    size_hint: int | None,
    training: Vectors | None,
    on_gpu: Callable[[int, int], Any] | None = None,
) -> FaissIndex:
    """Create an empty index; see `rag.indexes.vectors.create_index`.

    Args:
        dimension: Length of a vector.
        kind: How vectors are found.
        codes: How they are held.
        metric: What scores are.
        size_hint: How many vectors to expect.
        training: A sample of the vectors to come.
        on_gpu: Makes an empty exact index of a dimension and a metric on a GPU, for what takes
            longest: to learn clusters and to find the cluster of each vector that is added.
    """
    if codes == "pq" and kind != "ivf":
        raise InputError(f"codes 'pq' are for indexes of kind 'ivf', not '{kind}'")
    faiss_metric = faiss.METRIC_INNER_PRODUCT if metric == "inner_product" else faiss.METRIC_L2
    sample, held = np.zeros((1, dimension), np.float32), codes
    if kind == "ivf" or codes == "int8":
        if training is None:
            raise InputError(
                f"an index of kind '{kind}' with codes '{codes}' needs a sample of vectors as "
                "`training`"
            )
        given = checked_vectors(training, dimension, "training vectors")
        if len(given):
            sample = given
        elif codes == "int8":
            held = "float32"  # there is no range of numbers to learn
    if kind == "ivf":
        index = _clusters(dimension, held, faiss_metric, size_hint, len(sample))
        with openmp_threads(len(sample)):
            centres = _trained(index, sample, on_gpu)
        return InvertedIndex(index, kind, codes, centres=centres)
    flat = kind == "flat"
    index = (_flat if flat else _graph)(dimension, held, faiss_metric)
    if held == "int8":
        index.train(sample)
    _reserve(index if flat else faiss.downcast_index(index.storage), size_hint)
    return (FlatIndex if flat else HnswIndex)(faiss.IndexIDMap(index), kind, codes)


def load(path: Path, *, mapped: bool) -> FaissIndex:
    """Load a saved index; see `rag.indexes.vectors.load_index`."""
    index, kind, codes = read_index(path, mapped=mapped)
    if not isinstance(index, faiss.IndexIDMap):
        return InvertedIndex(index, kind, codes, mapped=mapped)
    return (HnswIndex if kind == "hnsw" else FlatIndex)(index, kind, codes, mapped=mapped)


def _flat(dimension: int, codes: Codes, faiss_metric: int) -> Any:
    if codes == "float32":
        return faiss.IndexFlat(dimension, faiss_metric)
    flat = faiss.IndexScalarQuantizer(dimension, _QUANTIZERS[codes], faiss_metric)
    flat.sq.rangestat_arg = _MARGIN
    return flat


def _graph(dimension: int, codes: Codes, faiss_metric: int) -> Any:
    if codes == "float32":
        graph = faiss.IndexHNSWFlat(dimension, _NEIGHBOURS, faiss_metric)
    else:
        graph = faiss.IndexHNSWSQ(dimension, _QUANTIZERS[codes], _NEIGHBOURS, faiss_metric)
        faiss.downcast_index(graph.storage).sq.rangestat_arg = _MARGIN
    graph.hnsw.efConstruction = _EF_CONSTRUCTION
    graph.hnsw.efSearch = _EF_SEARCH
    return graph


def _reserve(flat: Any, size_hint: int | None) -> None:
    # Growing a vector step by step would hold old and new copy at once. There is no `reserve`,
    # but shrinking keeps the memory.
    if size_hint:
        flat.codes.resize(size_hint * flat.code_size)
        flat.codes.resize(0)


def _clusters(
    dimension: int, codes: Codes, faiss_metric: int, size_hint: int | None, samples: int
) -> Any:
    lists = cluster_count(size_hint or samples, samples)
    quantizer = faiss.IndexFlat(dimension, faiss_metric)
    if codes == "pq" and samples >= _PQ_SAMPLES:
        parts = pq_parts(dimension)
        index = faiss.IndexIVFPQ(quantizer, dimension, lists, parts, 8, faiss_metric)
        # A twentieth of the work of FAISS's defaults, which take minutes for a hundred parts.
        index.pq.cp.niter = 5
        index.pq.cp.max_points_per_centroid = 64
    elif codes in _QUANTIZERS:
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, dimension, lists, _QUANTIZERS[codes], faiss_metric
        )
        index.sq.rangestat_arg = _MARGIN
        # A vector's distance from its centre would be rounded in float16, which may hold the
        # vector exactly, and a small sample's distances span too small a range for int8.
        index.by_residual = False
    else:
        index = faiss.IndexIVFFlat(quantizer, dimension, lists, faiss_metric)
    index.nprobe = min(lists, _PROBES * math.isqrt(lists))
    index.cp.min_points_per_centroid = 1  # a single cluster needs no more
    return index


def _trained(index: Any, sample: Vectors, on_gpu: Callable[[int, int], Any] | None) -> Any:
    """Train an index, and return an index of its clusters' centres on the GPU if there is one."""
    if on_gpu is None:
        index.train(sample)
        return None
    centres = index.clustering_index = on_gpu(index.d, index.metric_type)
    if hasattr(index, "pq"):
        parts = index.pq.assign_index = on_gpu(index.pq.dsub, faiss.METRIC_L2)
    index.train(sample)
    index.clustering_index = None
    if hasattr(index, "pq"):
        index.pq.assign_index = None
        del parts  # FAISS held no reference to it
    centres.reset()
    centres.add(faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist))
    return centres

"""Vector indexes: what one is, and how to create and load one."""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from rag.core.errors import InputError
from rag.core.protocols import Vectors

IntArray = npt.NDArray[np.int64]
Kind = Literal["flat", "hnsw", "ivf"]
Codes = Literal["float32", "float16", "int8", "pq"]
Metric = Literal["inner_product", "l2"]


class VectorHits(NamedTuple):
    """The vectors nearest to one query, best first.

    Args:
        ids: Their ids, int64 of shape (m,).
        scores: Their scores, float32 of shape (m,), higher is better: the inner product, or the
            negative of the squared distance.
    """

    ids: IntArray
    scores: npt.NDArray[np.float32]


class VectorIndex(Protocol):
    """Finds the vectors nearest to a query; every vector has an id of the caller's choice.

    Searches may run at the same time in several threads; a write waits for them and they for it.

    Attributes:
        kind: How vectors are found: 'flat', 'hnsw', 'ivf'.
        codes: How they are held: 'float32', 'float16', 'int8', 'pq'. Scores of the last two are
            approximate.
        effort: How far a search goes: the clusters that 'ivf' probes, the candidates that 'hnsw'
            keeps; 0 for 'flat', which compares with every vector. It can be set.
        metric: 'inner_product' (the cosine, for vectors of length 1) or 'l2'.
        dimension: Length of a vector.
        device: Where vectors are searched: 'cpu', or as in 'cuda:0'.
        mapped: Whether vectors are read from the file as they are needed; such an index is
            read-only.
    """

    kind: Kind
    codes: Codes
    effort: int
    metric: Metric
    dimension: int
    device: str
    mapped: bool

    @property
    def description(self) -> str:
        """What was built, in the words of FAISS, as in 'IVF1024,SQ8'."""

    def __len__(self) -> int:
        """Return the number of vectors."""

    def ids(self) -> IntArray:
        """Return the ids of all vectors, in no particular order."""

    def add(self, ids: IntArray, vectors: Vectors) -> None:
        """Add vectors; on an error none of them is added.

        Args:
            ids: An id for each vector, int64 of shape (n,), none negative, none in use.
            vectors: float32 of shape (n, dimension), all finite.

        Raises:
            InputError: Ids or vectors cannot be used, or the index is memory-mapped.
        """

    def remove(self, ids: IntArray) -> int:
        """Remove vectors; ids that are not in use are ignored.

        Returns:
            How many vectors were removed.

        Raises:
            InputError: The index is memory-mapped.
        """

    def search(self, queries: Vectors, top_k: int, ids: IntArray | None = None) -> list[VectorHits]:
        """Find the vectors nearest to each query.

        Args:
            queries: float32 of shape (n, dimension), all finite.
            top_k: Hits for each query, at least 1.
            ids: The only ids that may be returned; None allows all. Ids that are not in use are
                ignored.

        Returns:
            For each query `top_k` hits, or as many as there are vectors that may be returned.

        Raises:
            InputError: An argument cannot be used.
        """

    def save(self, path: Path) -> None:
        """Write the index to a file, whole or not at all.

        Raises:
            StorageError: The disk refused; what was at `path` before is intact.
        """


def create_index(
    dimension: int,
    *,
    kind: Kind = "flat",
    codes: Codes = "float32",
    metric: Metric = "inner_product",
    size_hint: int | None = None,
    training: Vectors | None = None,
    device: str = "cpu",
) -> VectorIndex:
    """Create an empty index.

    Args:
        dimension: Length of a vector.
        kind: 'flat' compares with every vector and is exact; 'hnsw' walks a neighbour graph;
            'ivf' compares with the vectors of the nearest clusters.
        codes: How vectors are held: 'float32'; 'float16', half the size; 'int8', a quarter;
            'pq' (for 'ivf' only), a sixteenth. Scores of the last two are approximate.
        metric: What scores are: 'inner_product', or 'l2' for the negative squared distance.
        size_hint: How many vectors to expect; sets clusters and the memory taken at once.
        training: A sample of the vectors to come, float32 of shape (n, dimension), for 'ivf'
            and 'int8', for 'ivf' best 40 to 256 for each of 4·√size_hint clusters. There are
            fewer clusters where it is smaller; 'pq' does not compress with fewer than 9,984, nor
            'int8' with none.
        device: 'cpu', 'cuda' (all GPUs), or 'cuda:N'; clusters are learnt there, and it is
            searched there. What `save` writes opens on any device.

    Raises:
        InputError: An argument cannot be used, or training vectors are missing.
        MissingExtra: FAISS is not installed.
        SearchFailed: A GPU failed.
        Unsupported: The device cannot be had.
    """
    if dimension < 1:
        raise InputError(f"dimension is {dimension}; it must be at least 1")
    _refuse_unknown("kind", kind, get_args(Kind))
    _refuse_unknown("codes", codes, get_args(Codes))
    _refuse_unknown("metric", metric, get_args(Metric))
    from rag.indexes import faiss_create
    from rag.indexes.gpu.devices import is_gpu

    if is_gpu(device):
        from rag.indexes.gpu import create as gpu_create

        return gpu_create.create(dimension, kind, codes, metric, size_hint, training, device)
    return faiss_create.create(dimension, kind, codes, metric, size_hint, training)


def load_index(path: Path, *, mapped: bool = False, device: str = "cpu") -> VectorIndex:
    """Load a saved index.

    Args:
        path: The file.
        mapped: Whether to leave the vectors in the file; the index is then read-only.
        device: 'cpu', 'cuda' (all GPUs), or 'cuda:N'; it is copied there by the first search.

    Raises:
        InputError: There is no such device.
        StorageError: The file cannot be read.
        CollectionCorrupt: The file is damaged or is not a saved index.
        MissingExtra: FAISS is not installed.
        Unsupported: The device cannot be had.
    """
    from rag.indexes import faiss_create
    from rag.indexes.gpu.devices import is_gpu

    if is_gpu(device):
        from rag.indexes.gpu import create as gpu_create

        return gpu_create.load(path, device, mapped=mapped)
    return faiss_create.load(path, mapped=mapped)


def pq_parts(dimension: int) -> int:
    """Return how many parts, of a byte each, codes 'pq' cut a vector into."""
    part = next((size for size in range(4, dimension + 1) if dimension % size == 0), 1)
    return dimension // part


def cluster_count(size: int, samples: int) -> int:
    """Return how many clusters an index of kind 'ivf' has.

    Args:
        size: How many vectors it is to hold.
        samples: How many the clusters are learnt from.
    """
    # 4 to 16 times √n is FAISS's own advice for up to a million vectors; with fewer than 39
    # samples for each it warns of poor clusters.
    return max(1, min(4 * isqrt(size), samples // 39))


def _refuse_unknown(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"no {name} '{value}'; there are {', '.join(known)}")

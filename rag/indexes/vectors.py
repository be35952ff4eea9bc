"""Vector indexes: what one is, and how to create and load one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from rag.core.errors import InputError
from rag.core.protocols import Vectors

IntArray = npt.NDArray[np.int64]
Kind = Literal["flat", "hnsw", "ivf", "pq"]
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
        kind: What was asked for: 'flat', 'hnsw', 'ivf', 'pq'.
        description: What was built, with its parameters, as in 'IVF1024,Flat nprobe=64'.
        metric: 'inner_product' (the cosine, for vectors of length 1) or 'l2'.
        dimension: Length of a vector.
        device: Where vectors are searched: 'cpu'.
        mapped: Whether vectors are read from the file as they are needed; such an index is
            read-only.
    """

    kind: str
    description: str
    metric: Metric
    dimension: int
    device: str
    mapped: bool

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
    metric: Metric = "inner_product",
    size_hint: int | None = None,
    training: Vectors | None = None,
    device: str = "cpu",
) -> VectorIndex:
    """Create an empty index.

    Args:
        dimension: Length of a vector.
        kind: 'flat' compares with every vector and is exact; 'hnsw' walks a neighbour graph;
            'ivf' compares with the vectors of the nearest clusters; 'pq' does so on compressed
            vectors, an eighth of the size, with approximate scores.
        metric: What scores are: 'inner_product', or 'l2' for the negative squared distance.
        size_hint: How many vectors to expect; sets clusters and the memory taken at once.
        training: A sample of the vectors to come, float32 of shape (n, dimension), for 'ivf' and
            'pq', best 40 to 256 for each of 4·√size_hint clusters. There are fewer clusters
            where it is smaller, and 'pq' does not compress with fewer than 9,984.
        device: 'cpu'.

    Raises:
        InputError: An argument cannot be used, or 'ivf' or 'pq' lack training vectors.
        MissingExtra: FAISS is not installed.
    """
    if dimension < 1:
        raise InputError(f"dimension is {dimension}; it must be at least 1")
    _refuse_unknown("kind", kind, get_args(Kind))
    _refuse_unknown("metric", metric, get_args(Metric))
    _refuse_unknown("device", device, ("cpu",))
    from rag.indexes import faiss_create

    return faiss_create.create(dimension, kind, metric, size_hint, training)


def load_index(path: Path, *, mapped: bool = False, device: str = "cpu") -> VectorIndex:
    """Load a saved index.

    Args:
        path: The file.
        mapped: Whether to leave the vectors in the file; the index is then read-only.
        device: 'cpu'.

    Raises:
        StorageError: The file cannot be read.
        CollectionCorrupt: The file is damaged or is not a saved index.
        MissingExtra: FAISS is not installed.
    """
    _refuse_unknown("device", device, ("cpu",))
    from rag.indexes import faiss_create

    return faiss_create.load(path, mapped=mapped)


def _refuse_unknown(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"no {name} '{value}'; there are {', '.join(known)}")

"""Creating indexes with the help of GPUs, and loading them to be searched there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rag.core.protocols import Vectors
from rag.indexes import faiss_create
from rag.indexes.faiss_index import FaissIndex
from rag.indexes.gpu import faiss_gpu
from rag.indexes.gpu.copying import copies
from rag.indexes.gpu.devices import Gpu, chosen, device_name, find_gpus
from rag.indexes.gpu.graph import linked
from rag.indexes.gpu.index import GpuIndex
from rag.indexes.vectors import Codes, Kind, Metric


def create(
    dimension: int,
    kind: Kind,
    codes: Codes,
    metric: Metric,
    size_hint: int | None,
    training: Vectors | None,
    device: str,
) -> GpuIndex:
    """Create an empty index that a GPU builds; see `rag.indexes.vectors.create_index`.

    It learns clusters, and finds the cluster of every vector that is added; with cuVS it links
    the vectors of a graph, when all have been added.
    """
    gpus = chosen(device, find_gpus())
    on_gpu = partial(faiss_gpu.flat, gpus[0].number)
    if (kind, codes) == ("hnsw", "float32") and faiss_gpu.has_cuvs():
        vectors = faiss_create.create(dimension, "flat", codes, metric, size_hint, None)
        return _searched_on(vectors, gpus, kind, partial(linked, number=gpus[0].number))
    with faiss_gpu.named_failures(device):
        master = faiss_create.create(dimension, kind, codes, metric, size_hint, training, on_gpu)
    return _searched_on(master, gpus, kind)


def load(path: Path, device: str, *, mapped: bool) -> GpuIndex:
    """Load an index to be searched on GPUs; see `rag.indexes.vectors.load_index`."""
    gpus = chosen(device, find_gpus())
    master = faiss_create.load(path, mapped=mapped)
    return _searched_on(master, gpus, master.kind)


def _searched_on(
    master: FaissIndex,
    gpus: tuple[Gpu, ...],
    kind: Kind,
    finish: Callable[[FaissIndex], FaissIndex] | None = None,
) -> GpuIndex:
    return GpuIndex(master, device_name(gpus), partial(copies, gpus=gpus), kind, finish)

"""FAISS's GPU indexes, as they are used here: all that only a machine with a GPU can prove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rag.core.errors import SearchFailed
from rag.core.extras import require

faiss = require("faiss", extra="gpu", package="faiss-gpu", needed_for="A vector index on a GPU")

TEMPORARY_BYTES = 256 << 20
"""Working memory of FAISS on each GPU and for each copy; of itself it takes 1.5 GiB."""


def flat(number: int, dimension: int, metric: int, *, half: bool = False) -> Any:
    """Return an empty exact index on a GPU, which holds vectors in float16 or float32."""
    config = faiss.GpuIndexFlatConfig()
    config.device = number
    config.useFloat16 = half
    return faiss.GpuIndexFlat(_resources(), dimension, metric, config)


def cagra(number: int, dimension: int, metric: int) -> Any:
    """Return an empty CAGRA graph on a GPU; `train` takes its vectors, all at once."""
    config = faiss.GpuIndexCagraConfig()
    config.device = number
    return faiss.GpuIndexCagra(_resources(), dimension, metric, config)


def clustered(index: Any, numbers: Sequence[int]) -> Any:
    """Copy an IVF index to a GPU, or a part of every cluster to each of several."""
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    if hasattr(index, "pq"):
        # The tables of a product quantizer have to fit the fast memory of a multiprocessor.
        options.useFloat16 = True
        options.use_cuvs = has_cuvs()
    resources = [_resources() for _ in numbers]
    return faiss.index_cpu_to_gpu_multiple_py(resources, index, options, numbers)


@contextmanager
def named_failures(device: str) -> Iterator[None]:
    """Say of an error of FAISS where it was met, and nothing of the inside.

    Raises:
        SearchFailed: FAISS failed.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise SearchFailed(
            "vector index",
            f"FAISS failed on {device}, most likely for want of memory there; free some, or "
            "give device='cpu'",
        ) from error


def has_cuvs() -> bool:
    """Say whether FAISS was built with cuVS."""
    return hasattr(faiss, "GpuIndexCagra")


def _resources() -> Any:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(TEMPORARY_BYTES)
    return resources

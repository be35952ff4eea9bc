"""Where a vector index is searched: on the CPU or on GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from rag.core.errors import Unsupported
from rag.indexes.gpu.devices import Gpu, Gpus, chosen, device_name, find_gpus, is_gpu
from rag.indexes.vectors import Codes, Kind, pq_parts

_SMALL = 100_000
"""Vectors below which even an exact search on the CPU takes less time than embedding a query."""
_ROOM = 512 << 20
"""Bytes of a GPU beside the index: FAISS's working memory, queries and results."""
_PQ_PARTS = frozenset({1, 2, 3, 4, *range(8, 33, 4), 40, 48, 56, 64, 96})
"""Sizes of product-quantized vectors in bytes that FAISS's own GPU code takes."""
_CAGRA_NEIGHBOURS = 64 * 4
"""Bytes that a vector takes in the graph of CAGRA."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an index is searched, and why.

    Args:
        device: 'cpu', or the GPUs as in 'cuda:0' or 'cuda:0,1'.
        reason: Why there, for people.
    """

    device: str
    reason: str


def place(vectors: int, dimension: int, kind: Kind, codes: Codes, device: str) -> Placement:
    """Decide where an index is searched.

    Args:
        vectors: How many vectors it holds.
        dimension: Length of a vector.
        kind: Its kind.
        codes: Its codes.
        device: 'cpu', 'cuda' (all GPUs), 'cuda:N', or 'auto': GPUs, as few as hold the index,
            where it is large and they are there, else the CPU.

    Raises:
        InputError: There is no such device.
        Unsupported: A GPU was asked for, and it cannot be had.
    """
    if device != "auto" and not is_gpu(device):
        return Placement("cpu", "as asked for")
    if device == "auto" and vectors < _SMALL:
        return Placement("cpu", f"{vectors:,} vectors; GPUs pay from {_SMALL:,} on")
    gpus = find_gpus()
    parts = pq_parts(dimension)
    if codes == "pq" and gpus.free and not gpus.cuvs and parts not in _PQ_PARTS:
        gpus = Gpus(
            (),
            f"FAISS without cuVS holds no product-quantized vectors of {parts} bytes on a GPU",
            "install faiss-gpu-cuvs in place of faiss-gpu, or choose codes 'int8'",
        )
    return decide(gpu_bytes(vectors, dimension, kind, codes, cuvs=gpus.cuvs), device, gpus)


def decide(size: int, device: str, gpus: Gpus) -> Placement:
    """Decide where an index is searched; see `place`.

    Args:
        size: Bytes that it takes on GPUs.
        device: 'auto', 'cuda' or 'cuda:N'.
        gpus: The GPUs there are.
    """
    if device != "auto":
        here = chosen(device, gpus)
        free = sum(usable(each) for each in here)
        if size > free:
            raise Unsupported(
                f"device '{device}'",
                f"an index of {_gigabytes(size)}: {_gigabytes(free)} are free",
                "free some, name more GPUs, or give device='cpu' or codes that take less",
            )
        return Placement(device_name(here), "as asked for")
    if not gpus.free:
        return Placement("cpu", gpus.missing)
    by_room = sorted(gpus.free, key=lambda each: -each.free)
    for count in range(1, len(by_room) + 1):
        here = tuple(sorted(by_room[:count]))
        if size <= sum(usable(each) for each in here):
            return Placement(device_name(here), f"{_gigabytes(size)} fit there")
    free = sum(usable(each) for each in gpus.free)
    return Placement("cpu", f"{_gigabytes(size)} do not fit the {_gigabytes(free)} free on GPUs")


def gpu_bytes(vectors: int, dimension: int, kind: Kind, codes: Codes, *, cuvs: bool) -> int:
    """Return the bytes that an index takes on GPUs at most, while it is copied.

    Where FAISS lacks cuVS, the copy of a graph is searched exactly, without the graph. One in
    float16 grows step by step, and for a moment old and new are there at once.
    """
    if kind == "hnsw" and cuvs:
        return vectors * (4 * dimension + _CAGRA_NEIGHBOURS)
    if kind == "ivf":
        # Each vector has an id of 8 bytes there.
        each = {"float32": 4 * dimension, "float16": 2 * dimension}.get(codes, dimension)
        return vectors * (each + 8)
    return vectors * 4 * dimension


def usable(gpu: Gpu) -> int:
    """Return the bytes of a GPU that an index may take."""
    return max(0, int(0.9 * gpu.free) - _ROOM)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"

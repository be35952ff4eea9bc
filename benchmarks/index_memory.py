"""Memory that building a vector index takes, against the size of its vectors.

    python benchmarks/index_memory.py --count 1000000 --dimension 384

Each index is built in a process of its own, in batches as a collection gives them. The ratio is
the growth of the process's peak resident memory over 4 bytes a number.
"""

import argparse
import multiprocessing
import resource
import sys
import time

import numpy as np

from rag.indexes.vectors import create_index

BATCH = 10_000


def peak() -> int:
    """Return the process's peak resident memory in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def build(kind: str, count: int, dimension: int, training_count: int) -> tuple[float, float]:
    """Build an index of random vectors.

    Returns:
        Peak memory over the vectors' size, and seconds.
    """
    rng = np.random.default_rng(0)
    create_index(dimension).add([0], np.zeros((1, dimension)))  # loads FAISS
    before = peak()
    start = time.perf_counter()
    training = None
    if kind in ("ivf", "pq"):
        training = rng.standard_normal((training_count, dimension), dtype=np.float32)
    index = create_index(dimension, kind=kind, size_hint=count, training=training)
    del training
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        index.add(
            np.arange(first, first + size),
            rng.standard_normal((size, dimension), dtype=np.float32),
        )
    seconds = time.perf_counter() - start
    return (peak() - before) / (count * dimension * 4), seconds


def main() -> None:
    """Print one line for each kind of index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--kinds", nargs="+", default=["flat"])
    parser.add_argument("--training", type=int, default=50_000, help="vectors, for ivf and pq")
    args = parser.parse_args()
    size = args.count * args.dimension * 4
    print(f"{args.count:,} vectors of {args.dimension} numbers: {size / 1e9:.2f} GB")
    for kind in args.kinds:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            ratio, seconds = pool.apply(build, (kind, args.count, args.dimension, args.training))
        print(f"{kind:5} peak memory {ratio:.2f} times the vectors, {seconds:.0f} s")


if __name__ == "__main__":
    main()

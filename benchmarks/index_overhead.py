"""What `VectorIndex.search` takes over a bare search of FAISS in the same index.

    python benchmarks/index_overhead.py --vectors FOLDER --queries FILE.npy [--count 100000]

FOLDER holds vectors in `*.npy` files, shape (n, dimension), FILE.npy those of queries; all have
length 1. Each index is saved, and FAISS itself reads the file: the bare search is of the same
structure, with the same parameters and threads. The two take turns, so that noise meets both, and
processor time is counted, which other programs lengthen little; the ratio is the median of those of
neighbouring runs. Recall is of the true 10 nearest.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

BLAS_THRESHOLD = faiss.cvar.distance_compute_blas_threshold  # FAISS's own, before ours is set

from rag.indexes.vectors import Codes, Kind, VectorIndex, create_index, load_index  # noqa: E402

TOP_K = 10
BATCHES = (1, 64, 1024)
RECALL_QUERIES = 500
STRUCTURES: list[tuple[Kind, Codes]] = [
    *(("flat", codes) for codes in ("float32", "float16", "int8")),
    *(("hnsw", codes) for codes in ("float32", "float16", "int8")),
    *(("ivf", codes) for codes in ("float32", "float16", "int8", "pq")),
]


def build(kind: Kind, codes: Codes, vectors: np.ndarray) -> VectorIndex:
    """Build an index."""
    training = vectors[:: max(1, len(vectors) // 50_000)]
    index = create_index(
        vectors.shape[1], kind=kind, codes=codes, size_hint=len(vectors), training=training
    )
    index.add(np.arange(len(vectors)), vectors)
    return index


def seconds(call: Callable[[], object], blas_threshold: int) -> float:
    """Return what a call takes with a setting of FAISS."""
    faiss.cvar.distance_compute_blas_threshold = blas_threshold
    began = time.process_time()
    call()
    return time.process_time() - began


def compare(
    bare: faiss.Index, index: VectorIndex, batch: np.ndarray, budget: float
) -> tuple[float, float]:
    """Time both in turn for some seconds.

    Returns:
        The median seconds of the bare search, and the median ratio of ours to it.
    """
    ours = faiss.cvar.distance_compute_blas_threshold
    times: list[tuple[float, float]] = []
    until = time.perf_counter() + budget
    while len(times) < 3 or time.perf_counter() < until:
        pair = [
            (False, lambda: bare.search(batch, TOP_K), BLAS_THRESHOLD),
            (True, lambda: index.search(batch, TOP_K), ours),
        ]
        # Whoever comes first finds other things in the processor's caches.
        taken = {
            mine: seconds(call, threshold)
            for mine, call, threshold in (pair if len(times) % 2 else reversed(pair))
        }
        times.append((taken[False], taken[True]))
    faiss.cvar.distance_compute_blas_threshold = ours
    return (
        statistics.median(first for first, _ in times),
        statistics.median(second / first for first, second in times),
    )


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """Return the share of the true nearest that were found."""
    return float(
        np.mean([np.isin(row, best).mean() for row, best in zip(true, found, strict=True)])
    )


def main() -> None:
    """Print a line for each structure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True, help="folder of .npy files")
    parser.add_argument("--queries", type=Path, required=True, help=".npy file")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--structures", nargs="+", help="as in flat-int8; all by default")
    parser.add_argument("--seconds", type=float, default=3, help="for each comparison")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    faiss.omp_set_num_threads(args.threads)
    files = sorted(args.vectors.glob("*.npy"))
    parts: list[np.ndarray] = []
    for file in files:
        if file != args.queries and sum(map(len, parts)) < args.count:
            parts.append(np.load(file).astype(np.float32))
    vectors = np.concatenate(parts)[: args.count]
    queries = np.load(args.queries).astype(np.float32)
    _, true = faiss.knn(queries[:RECALL_QUERIES], vectors, TOP_K, faiss.METRIC_INNER_PRODUCT)
    print(f"{len(vectors):,} vectors of {vectors.shape[1]} numbers, {args.threads} threads")
    print(
        f"{'':14}{'recall@10':>18}"
        + "".join(f"{f'batch of {size}':>28}" for size in BATCHES)
        + f"\n{'':14}{'bare':>9}{'ours':>9}"
        + f"{'bare ms':>18}{'ratio':>10}" * len(BATCHES)
    )
    for kind, codes in STRUCTURES:
        if args.structures and f"{kind}-{codes}" not in args.structures:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            build(kind, codes, vectors).save(path)
            bare, index = faiss.read_index(str(path)), load_index(path)
        _, found = bare.search(queries[:RECALL_QUERIES], TOP_K)
        hits = index.search(queries[:RECALL_QUERIES], TOP_K)
        line = f"{kind + ' ' + codes:14}{recall(found, true):9.4f}"
        line += f"{recall(np.stack([each.ids for each in hits]), true):9.4f}"
        for size in BATCHES:
            taken, ratio = compare(bare, index, queries[:size], args.seconds)
            line += f"{1e3 * taken:18.3f}{ratio:10.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()

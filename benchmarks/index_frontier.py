"""Recall, latency, memory and build time of every structure of vector index, on real vectors.

    OMP_NUM_THREADS=1 python benchmarks/index_frontier.py --vectors FOLDER --queries FILE.npy

FOLDER holds the vectors of passages as shards, float16 `.npy` files of shape (n, dimension), and
FILE.npy those of queries, float32. All have length 1. Indexes are built by `create_index`, as a
collection builds them, kept in the folder `--work`, and not built again. Each is measured in a
process of its own, at every effort and, where codes are approximate, oversampling of a sweep.

- Recall is the share of the 10 nearest passages that a search finds, by exact scores.
- Times are processor time of one thread, so that waiting for a core that others use does not
  count: what a clock shows on a machine that does nothing else. Of a single query the median and
  the 95th percentile, of a batch of 64 the median, told for each query; the least of the rounds.
- Approximate codes are scored anew by `rag.indexes.rescoring`, from a mapped file of float16
  vectors in place of the collection's store.
- Bare is a plain FAISS index, read from the same file, that searches the same batches in turns.
- Memory is what loading the index adds to the process.

Rows of a structure replace its earlier rows in `--output`, so structures can be measured one by
one. `index_frontier_report.py` draws them; `rag index advise` scales them to other sizes.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from rag.indexes.rescoring import nearest
from rag.indexes.vectors import VectorHits, VectorIndex, create_index, load_index

Floats = npt.NDArray[np.float32]

TOP_K = 10
BATCH = 64
BLOCK = 20_000
TRAINING_PER_CLUSTER = 64  # as a collection takes
ROUND_SECONDS = 2.0
ROUNDS = 3
STRUCTURES = (
    *("flat-float32", "flat-float16", "flat-int8"),
    *("ivf-float32", "ivf-float16", "ivf-int8", "ivf-pq"),
    *("hnsw-float32", "hnsw-float16", "hnsw-int8"),
)
EFFORTS = {
    "flat": (0,),
    "hnsw": (16, 32, 64, 128, 256, 512),
    "ivf": (16, 32, 64, 128, 256, 512),
}
OVERSAMPLINGS = {"float32": (1.0,), "float16": (1.0,), "int8": (2.0,), "pq": (4.0, 10.0)}
RESULTS = Path(__file__).parents[1] / "rag" / "indexes" / "index_frontier.json"


@dataclass(frozen=True, slots=True)
class Row:
    """What one structure did at one setting.

    Args:
        structure: Kind and codes.
        index: What was built, in the words of FAISS.
        passages: How many vectors there were.
        dimension: Their length.
        effort: How far searches went.
        oversampling: Candidates for each hit wanted.
        recall: Share of the 10 nearest that were found.
        queries: For how many queries.
        one_ms: Milliseconds of a search for one query, the median.
        one_p95_ms: The 95th percentile.
        batch_ms: Milliseconds a query in batches.
        bare_ms: The same, of a plain FAISS index without re-scoring.
        build_seconds: Processor seconds to train and add.
        file_bytes: Size of the saved index.
        memory_bytes: What loading it added to the process's resident memory.
    """

    structure: str
    index: str
    passages: int
    dimension: int
    effort: int
    oversampling: float
    recall: float
    queries: int
    one_ms: float
    one_p95_ms: float
    batch_ms: float
    bare_ms: float
    build_seconds: float
    file_bytes: int
    memory_bytes: int


class StoredVectors:
    """Passages' vectors in a mapped file, read as a snapshot of a store reads them."""

    def __init__(self, path: Path) -> None:
        self.stored = np.load(path, mmap_mode="r")

    def vectors(self, ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return ids, ascending, and their vectors."""
        return ids, self.stored[ids].astype(np.float32)


def gather(shards: Path, count: int, work: Path) -> Path:
    """Copy the first `count` vectors of shards into one file, unless they are there."""
    path = work / f"vectors-{count}.npy"
    if not path.exists():
        files = sorted(shards.glob("shard-*.npy"))
        dimension = np.load(files[0], mmap_mode="r").shape[1]
        part = path.with_suffix(".part")
        whole = np.lib.format.open_memmap(part, "w+", np.float16, (count, dimension))
        filled = 0
        for file in files:
            vectors = np.load(file)[: count - filled]
            whole[filled : filled + len(vectors)] = vectors
            filled += len(vectors)
        if filled < count:
            raise SystemExit(f"{shards} holds {filled:,} vectors; --count asks for {count:,}")
        whole.flush()
        part.rename(path)
    return path


def tenth_scores(vectors: Path, queries: Floats) -> Floats:
    """Return the exact score of each query's tenth nearest vector, kept beside the vectors."""
    path = vectors.with_name(f"{vectors.stem}-tenth-{len(queries)}.npy")
    if not path.exists():
        stored = np.load(vectors, mmap_mode="r")
        best = np.full((len(queries), TOP_K), -np.inf, np.float32)
        for first in range(0, len(stored), BLOCK):
            scores = queries @ stored[first : first + BLOCK].astype(np.float32).T
            both = np.concatenate([best, scores], axis=1)
            best = np.partition(both, -TOP_K, axis=1)[:, -TOP_K:]
        np.save(path, best.min(axis=1))
    tenth: Floats = np.load(path)
    return tenth


def build(structure: str, vectors: Path, saved: Path) -> None:
    """Build an index as a collection does, save it, and write down how long that took."""
    kind, codes = structure.split("-")
    stored = np.load(vectors, mmap_mode="r")
    training = None
    if kind == "ivf" or codes == "int8":
        wanted = min(len(stored), int(TRAINING_PER_CLUSTER * 4 * len(stored) ** 0.5))
        rows = np.random.default_rng(0).choice(len(stored), wanted, replace=False)
        training = stored[np.sort(rows)].astype(np.float32)
    began = time.process_time()
    index = create_index(
        stored.shape[1],
        kind=kind,  # type: ignore[arg-type]
        codes=codes,  # type: ignore[arg-type]
        size_hint=len(stored),
        training=training,
    )
    for first in range(0, len(stored), BLOCK):
        block = stored[first : first + BLOCK].astype(np.float32)
        index.add(np.arange(first, first + len(block)), block)
    seconds = time.process_time() - began
    index.save(saved)
    saved.with_suffix(".json").write_text(json.dumps({"build_seconds": seconds}))


def measure(structure: str, vectors: Path, queries: Floats, saved: Path) -> list[Row]:
    """Load a saved index and measure it at every setting of its sweep."""
    codes = structure.split("-")[1]
    before = resident_bytes()
    index = load_index(saved)
    memory = resident_bytes() - before
    bare = faiss.read_index(str(saved))
    store = StoredVectors(vectors)
    tenth = tenth_scores(vectors, queries)
    about: dict[str, Any] = {
        "structure": structure,
        "index": index.description,
        "passages": len(index),
        "dimension": index.dimension,
        "build_seconds": json.loads(saved.with_suffix(".json").read_text())["build_seconds"],
        "file_bytes": saved.stat().st_size,
        "memory_bytes": memory,
    }
    return [
        Row(**about, effort=effort, oversampling=factor, **setting)
        for effort in EFFORTS[index.kind]
        for factor in OVERSAMPLINGS[codes]
        for setting in [at_setting(index, bare, store, queries, tenth, effort, factor)]
    ]


def at_setting(
    index: VectorIndex,
    bare: Any,
    store: Any,
    queries: Floats,
    tenth: Floats,
    effort: int,
    factor: float,
) -> dict[str, Any]:
    """Measure recall and times at one effort and oversampling."""
    if index.kind != "flat":
        index.effort = effort
        name = "efSearch" if index.kind == "hnsw" else "nprobe"
        faiss.ParameterSpace().set_index_parameter(bare, name, effort)
    candidates = int(TOP_K * factor)

    def search(first: int, size: int) -> list[VectorHits]:
        asked = queries[first : first + size]
        return nearest(index, store, asked, TOP_K, oversampling=factor)

    def search_bare(first: int, size: int) -> None:
        bare.search(queries[first : first + size], candidates)

    ones, batches, bares = [], [], []
    starts = range(0, len(queries) - BATCH + 1, BATCH)
    for _ in range(ROUNDS):
        (one,) = timed([lambda first: search(first, 1)], range(len(queries)))
        ones.append((np.median(one), np.percentile(one, 95)))
        ours, plain = timed(
            [lambda first: search(first, BATCH), lambda first: search_bare(first, BATCH)], starts
        )
        batches.append(np.median(ours))
        bares.append(np.median(plain))
    medians, tails = zip(*ones, strict=True)
    found = [hits for first in range(0, len(queries), BATCH) for hits in search(first, BATCH)]
    # By exact scores; those of the same vector differ in the last bits from sum to sum.
    recalls = [
        np.sum(store.vectors(hits.ids)[1] @ query >= limit - 1e-5) / TOP_K
        for query, hits, limit in zip(queries, found, tenth, strict=True)
    ]
    return {
        "recall": round(float(np.mean(recalls)), 4),
        "queries": len(found),
        "one_ms": milliseconds(min(medians)),
        "one_p95_ms": milliseconds(min(tails)),
        "batch_ms": milliseconds(min(batches) / BATCH),
        "bare_ms": milliseconds(min(bares) / BATCH),
    }


def timed(calls: Sequence[Callable[[int], object]], arguments: Iterable[int]) -> list[list[float]]:
    """Call each of `calls` in turns with arguments until a round is over; return seconds."""
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + ROUND_SECONDS * len(calls)
    for argument in arguments:
        for call, own in zip(calls, times, strict=True):
            began = time.process_time()
            call(argument)
            own.append(time.process_time() - began)
        if time.perf_counter() > end and len(times[0]) >= 4:
            break
    return times


def milliseconds(seconds: float) -> float:
    """Return milliseconds, with as many digits as mean something."""
    return float(f"{1000 * seconds:.4g}")


def resident_bytes() -> int:
    """Return the process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    """Measure the structures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--queries", type=Path, metavar="FILE", required=True)
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors to take")
    parser.add_argument("--asked", type=int, default=512, help="queries to take")
    parser.add_argument("--structures", nargs="+", default=STRUCTURES, choices=STRUCTURES)
    parser.add_argument("--work", type=Path, default=Path("build/index-frontier"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    queries = np.load(args.queries)[: args.asked].astype(np.float32)
    vectors = gather(args.vectors, args.count, args.work)
    for structure in args.structures:
        saved = args.work / f"{structure}-{args.count}.faiss"
        if not saved.with_suffix(".json").exists():
            apart(build, structure, vectors, saved)
        rows = [asdict(row) for row in apart(measure, structure, vectors, queries, saved)]
        for row in rows:
            print(json.dumps(row), flush=True)
        keep(rows, args.output)


def keep(rows: list[dict[str, Any]], path: Path) -> None:
    """Put rows in place of those of the same structure and size, one to a line."""
    old = json.loads(path.read_text()) if path.exists() else []
    new = (rows[0]["structure"], rows[0]["passages"])
    kept = [row for row in old if (row["structure"], row["passages"]) != new] + rows
    kept.sort(key=lambda row: (row["passages"], STRUCTURES.index(row["structure"])))
    path.write_text("[\n" + ",\n".join(map(json.dumps, kept)) + "\n]\n")


if __name__ == "__main__":
    main()

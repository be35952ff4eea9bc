"""Build time, latency and throughput of vector indexes on a GPU, against the CPU and the hardware.

    python benchmarks/gpu_indexes.py                                   # one large GPU, minutes
    python benchmarks/gpu_indexes.py --device cpu --vectors 20000      # the CPU's rows alone

Vectors are synthetic: clusters on a sphere, made on the device. Each structure is built by
`create_index` on the device, saved, and searched there and, from the same file, on the CPU. Effort
is the least power of two at which recall@10 is `--recall`. Times are medians over batches.

For exact search, the share of the hardware's limit is told as well: at batches of up to 8, where
every vector is read once for each batch, bytes read a second over what a copy moves; at 1,024 and
more, floating-point operations a second over what a matrix product reaches. Both limits are
measured with torch in the same run.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rag.indexes.vectors import IntArray, VectorIndex, create_index, load_index

BLOCK = 250_000
TOP_K = 10
BATCHES = (1, 8, 64, 1024, 4096)
EFFORTS = tuple(1 << power for power in range(3, 12))
STRUCTURES = {
    "flat-float32": {"kind": "flat"},
    "flat-float16": {"kind": "flat", "codes": "float16"},
    "ivf-float16": {"kind": "ivf", "codes": "float16"},
    "ivf-int8": {"kind": "ivf", "codes": "int8"},
    "hnsw-float32": {"kind": "hnsw"},
}
BYTES = {"flat-float32": 4, "flat-float16": 2}


class Limits(NamedTuple):
    """What the hardware does: bytes a second that a copy moves, operations of a product."""

    bytes: float
    operations: float


class Vectors:
    """Synthetic vectors in clusters, the same for the same arguments.

    Args:
        count: How many.
        dimension: Length of each.
        device: Where they are made.
    """

    def __init__(self, count: int, dimension: int, device: torch.device) -> None:
        self.count = count
        self.dimension = dimension
        self.device = device
        clusters = max(64, count // 500)
        self.centres = self._normal(clusters, seed=-1)

    def _normal(self, count: int, seed: int) -> torch.Tensor:
        generator = torch.Generator(self.device).manual_seed(seed + 1)
        return torch.randn(count, self.dimension, generator=generator, device=self.device)

    def sample(self, count: int, seed: int) -> torch.Tensor:
        """Return vectors of length 1, float32 of shape (count, dimension), on the device."""
        generator = torch.Generator(self.device).manual_seed(seed + 1)
        which = torch.randint(len(self.centres), (count,), generator=generator, device=self.device)
        noise = self._normal(count, seed)
        return torch.nn.functional.normalize(self.centres[which] + 0.8 * noise)

    def blocks(self) -> Iterator[tuple[IntArray, torch.Tensor]]:
        """Yield all vectors with their ids."""
        for number, first in enumerate(range(0, self.count, BLOCK)):
            size = min(BLOCK, self.count - first)
            yield np.arange(first, first + size), self.sample(size, number)


def nearest(vectors: Vectors, queries: torch.Tensor) -> IntArray:
    """Return the ids of the nearest vectors of each query, shape (n, TOP_K), by exact scores."""
    scores = torch.full((len(queries), 0), 0.0, device=queries.device)
    ids = torch.zeros((len(queries), 0), dtype=torch.int64, device=queries.device)
    for numbers, block in vectors.blocks():
        best, places = (queries @ block.T).topk(min(TOP_K, len(block)))
        scores = torch.cat([scores, best], 1)
        ids = torch.cat([ids, places + int(numbers[0])], 1)
        scores, kept = scores.topk(min(TOP_K, scores.shape[1]))
        ids = ids.gather(1, kept)
    return ids.cpu().numpy()


def median_seconds(run: Callable[[], object], seconds: float) -> float:
    """Return the median time of a call, called for some seconds and at least three times."""
    run()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measured_limits(device: torch.device) -> Limits:
    """Measure what the hardware does."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    side, words = (8192, 1 << 29) if device.type == "cuda" else (1024, 1 << 24)
    source = torch.zeros(words, device=device)
    target = torch.empty_like(source)
    matrix = torch.randn(side, side, device=device).to(dtype)

    def copy() -> None:
        target.copy_(source)
        synchronize()

    def multiply() -> None:
        matrix @ matrix
        synchronize()

    copied, multiplied = median_seconds(copy, 0.5), median_seconds(multiply, 0.5)
    return Limits(2 * 4 * words / copied, 2 * side**3 / multiplied)


def built(vectors: Vectors, device: str, options: dict[str, str]) -> tuple[VectorIndex, float]:
    """Build an index and return it with the seconds that took, without making the vectors."""
    training = None
    if options["kind"] == "ivf":
        clusters = 4 * int(vectors.count**0.5)
        training = vectors.sample(min(vectors.count, 64 * clusters), seed=10_000).cpu().numpy()
    start = time.perf_counter()
    index = create_index(
        vectors.dimension,
        **options,
        size_hint=vectors.count,
        training=training,
        device=device,
    )
    seconds = time.perf_counter() - start
    for ids, block in vectors.blocks():
        given = block.cpu().numpy()
        start = time.perf_counter()
        index.add(ids, given)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    len(index.description)  # a graph is linked now
    return index, seconds + time.perf_counter() - start


def recall(index: VectorIndex, queries: np.ndarray, truth: IntArray) -> float:
    """Return the mean share of the true nearest that a search finds."""
    found = index.search(queries, TOP_K)
    return float(
        np.mean([np.isin(hits.ids, row).mean() for hits, row in zip(found, truth, strict=True)])
    )


def reach(index: VectorIndex, queries: np.ndarray, truth: IntArray, wanted: float) -> float:
    """Set the least effort that reaches a recall, or the greatest, and return the recall."""
    if index.kind == "flat":
        return recall(index, queries, truth)
    reached = 0.0
    for effort in EFFORTS:
        if index.kind == "ivf" and effort > int(index.description[3:].split(",")[0]):
            break
        index.effort = effort
        reached = recall(index, queries, truth)
        if reached >= wanted:
            break
    return reached


def row(
    name: str,
    index: VectorIndex,
    queries: np.ndarray,
    limits: Limits | None,
    batches: tuple[int, ...],
    seconds: float,
) -> list[str]:
    """Return queries a second at each batch, with the share of the hardware's limit."""
    cells = []
    for batch in batches:
        took = median_seconds(lambda batch=batch: index.search(queries[:batch], TOP_K), seconds)
        cell = f"{batch / took:,.0f}"
        if limits and name in BYTES:
            size = len(index) * index.dimension
            if batch <= 8:
                cell += f" ({size * BYTES[name] / took / limits.bytes:.0%} of copy)"
            elif batch >= 1024:
                cell += f" ({2 * size * batch / took / limits.operations:.0%} of product)"
        cells.append(cell)
    return cells


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--vectors", type=int, default=10_000_000, help="for flat and ivf")
    parser.add_argument("--graph-vectors", type=int, default=1_000_000, help="for hnsw")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--structures", nargs="+", choices=STRUCTURES, default=list(STRUCTURES))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each cell")
    parser.add_argument("--cpu-batches", type=int, nargs="+", default=[1, 64])
    args = parser.parse_args()
    device = torch.device(args.device)
    limits = measured_limits(device)
    print(
        f"{args.device}: copy {limits.bytes / 1e9:,.0f} GB/s, "
        f"product {limits.operations / 1e9:,.0f} GFLOP/s"
    )
    on_gpu = device.type == "cuda"
    print(
        "| structure | vectors | device | build s | recall@10 | effort | queries/s at batch "
        + " | ".join(map(str, BATCHES))
        + " |"
    )
    print("|---" * (6 + len(BATCHES)) + "|")
    for name in args.structures:
        options = STRUCTURES[name]
        count = min(args.vectors, args.graph_vectors if name.startswith("hnsw") else args.vectors)
        vectors = Vectors(count, args.dimension, device)
        asked = vectors.sample(max(BATCHES), seed=20_000)
        truth = nearest(vectors, asked[:256])
        queries = asked.cpu().numpy()
        index, seconds = built(vectors, args.device, options)
        places = [(args.device, index, BATCHES, limits if on_gpu else None)]
        with tempfile.TemporaryDirectory() as folder:
            if on_gpu:
                index.save(Path(folder, "index"))
                on_cpu = load_index(Path(folder, "index"))
                places.append(("cpu", on_cpu, tuple(args.cpu_batches), None))
            for place, each, batches, limit in places:
                reached = reach(each, queries[:256], truth, args.recall)
                cells = dict(
                    zip(
                        batches, row(name, each, queries, limit, batches, args.seconds), strict=True
                    )
                )
                cells_text = " | ".join(cells.get(batch, "") for batch in BATCHES)
                print(
                    f"| {name} | {count:,} | {place} | {seconds:.1f} | {reached:.3f} | "
                    f"{each.effort} | {cells_text} |",
                    flush=True,
                )
        del index, places


if __name__ == "__main__":
    main()

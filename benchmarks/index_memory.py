"""Memory that a vector index takes to be built, searched and changed.

    python benchmarks/index_memory.py --count 1000000 --dimension 384 --codes float32 int8

The vectors are random. Each index is built as the writer of a collection builds it, in batches:
flat ones are streamed to the file, the others are built in memory and saved. Then another process
maps the file, searches it, adds and removes 1 % and searches again. 'own' is memory of the process
alone, 'mapped' are pages of the file, which the system takes back when it needs room.
"""

import argparse
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rag.core.protocols import Vectors
from rag.indexes.vectors import Codes, IntArray, Kind, create_index

BATCH = 4096
QUERIES = 64


def memory() -> dict[str, float]:
    """Return the process's own memory, its pages of files, and the peak of both, in MB."""
    lines = Path("/proc/self/status").read_text()
    fields = {"own": "RssAnon", "mapped": "RssFile", "peak": "VmHWM"}
    sizes = {name: re.search(rf"{field}:\s+(\d+)", lines) for name, field in fields.items()}
    return {name: int(size.group(1)) / 1e3 if size else 0.0 for name, size in sizes.items()}


def batches(first: int, count: int, dimension: int) -> Iterator[tuple[IntArray, Vectors]]:
    """Yield ids from `first` on, and random vectors."""
    rng = np.random.default_rng(first)
    for start in range(first, first + count, BATCH):
        size = min(BATCH, first + count - start)
        yield np.arange(start, start + size), rng.standard_normal((size, dimension), np.float32)


def build(path: Path, kind: Kind, codes: Codes, count: int, dimension: int, samples: int) -> float:
    """Build an index file and return by how much the peak of memory grew, in MB."""
    from rag.indexes.flat_file import write_flat

    before = memory()["peak"]
    training = None
    if kind == "ivf" or codes == "int8":
        training = np.random.default_rng(0).standard_normal((samples, dimension), np.float32)
    vectors = batches(0, count, dimension)
    if kind == "flat":
        write_flat(
            path,
            vectors,
            count=count,
            dimension=dimension,
            codes=codes,
            metric="inner_product",
            training=training,
        )
    else:
        index = create_index(dimension, kind=kind, codes=codes, size_hint=count, training=training)
        del training
        for ids, batch in vectors:
            index.add(ids, batch)
        index.save(path)
    return memory()["peak"] - before


def use(path: Path, count: int, dimension: int) -> list[float]:
    """Open, search and change a saved index.

    Returns:
        Milliseconds to open it; own memory when open, own and mapped memory after a search, and
        own memory when 1 % is added and 1 % removed and it was searched again, in MB.
    """
    from rag.indexes.overlay import Overlay

    ((_, queries),) = batches(2 * count, QUERIES, dimension)
    before = memory()
    began = time.perf_counter()
    index = Overlay(path)
    milliseconds = 1000 * (time.perf_counter() - began)
    opened = memory()
    index.search(queries, 10)
    searched = memory()
    index.remove(np.arange(0, count, 100))
    for ids, vectors in batches(count, count // 100, dimension):
        index.add(ids, vectors)
    index.search(queries, 10)
    return [
        milliseconds,
        opened["own"] - before["own"],
        searched["own"] - before["own"],
        searched["mapped"] - before["mapped"],
        memory()["own"] - before["own"],
    ]


def alone(function: Callable[..., Any], *args: object) -> Any:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def main() -> None:
    """Print one line for each index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--kinds", nargs="+", default=["flat"])
    parser.add_argument("--codes", nargs="+", default=["float32", "float16", "int8"])
    parser.add_argument("--training", type=int, default=256_000, help="vectors, for ivf and int8")
    parser.add_argument("--folder", type=Path, help="where files are written, on a real disk")
    args = parser.parse_args()
    print(f"{args.count:,} vectors of {args.dimension} numbers; memory in MB\n")
    print(
        "| index | file | built: peak | s | opened: ms | own | searched: own | mapped | changed |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for kind in args.kinds:
        for codes in args.codes:
            with TemporaryDirectory(dir=args.folder) as folder:
                path = Path(folder) / "index"
                began = time.perf_counter()
                peak = alone(build, path, kind, codes, args.count, args.dimension, args.training)
                seconds = time.perf_counter() - began
                used = alone(use, path, args.count, args.dimension)
                row = [path.stat().st_size / 1e6, peak, seconds, *used]
            print(f"| {kind} {codes} |", " | ".join(f"{each:,.0f}" for each in row), "|")


if __name__ == "__main__":
    main()

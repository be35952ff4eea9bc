"""The store's bulk path against ordinary adding and against a plain file.

    python benchmarks/store_bulk.py [--passages 200000] [--dimension 384] [--folder FOLDER]

Documents of one passage of about 200 characters with their vectors at hand, as float16, go

- into a plain file, everything one after the other, with one fsync at the end;
- into the store by the bulk path (`Collection.add_embedded` without the two indexes);
- into the store in transactions as small as those of `Collection.add`.

Each runs in a process of its own; making the input is not timed. MB/s counts the bytes of texts,
vectors, names and titles, which is what the plain file holds.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rag import Document, Passage
from rag.indexes.indexing import Embedded, embedded_batches, store_embedded
from rag.indexes.records import VectorCodec
from rag.indexes.store import Store

WORDS = [f"{head}{tail}" for head in "bdfgklmnprst" for tail in ("ale", "orin", "u", "enta", "ix")]


def contents(passages: int, dimension: int) -> Iterator[Embedded]:
    """Yield documents of one passage each, the same ones every time."""
    rng = np.random.default_rng(0)
    for start in range(0, passages, 1000):
        words = rng.integers(len(WORDS), size=(1000, 42))
        vectors = rng.standard_normal((1000, 1, dimension), np.float32).astype(np.float16)
        for number in range(start, min(start + 1000, passages)):
            text = f"{number} " + " ".join(WORDS[each] for each in words[number - start])
            name = f"folder/{number:09}.txt"
            passage = Passage(f"{name}#0", name, text, 0, len(text), f"Title {number}")
            document = Document(name, text, f"Title {number}", f"file:///data/{name}")
            yield document, [passage], vectors[number - start]


def plain_file(made: list[Embedded], folder: Path) -> None:
    """Write everything to one file."""
    with (folder / "plain").open("wb") as file:
        for document, passages, vectors in made:
            file.write(raw(document, passages[0], vectors))
        file.flush()
        os.fsync(file.fileno())


def raw(document: Document, passage: Passage, vectors: np.ndarray) -> bytes:
    """Return what has to be written of a document at least."""
    parts = (document.id, document.title, document.uri, document.text, passage.id, passage.text)
    return "".join(parts).encode() + vectors.tobytes()


def codec_of(made: list[Embedded]) -> VectorCodec:
    """Return how the vectors are stored."""
    return VectorCodec("float16", made[0][2].shape[1])


def bulk(made: list[Embedded], folder: Path) -> None:
    """Store everything by the bulk path."""
    store = Store.create(folder, codec_of(made))
    for batch in embedded_batches(made):
        store_embedded(store, batch)
    store.close()


def ordinary(made: list[Embedded], folder: Path) -> None:
    """Store everything in transactions of 1,024 documents, as `Collection.add` does."""
    store = Store.create(folder, codec_of(made))
    for start in range(0, len(made), 1024):
        store_embedded(store, made[start : start + 1024])
    store.close()


WAYS: dict[str, Callable[[list[Embedded], Path], None]] = {
    "plain file": plain_file,
    "bulk": bulk,
    "ordinary": ordinary,
}


def measure(way: str, passages: int, dimension: int, folder: str) -> tuple[float, int, int, int]:
    """Return seconds, the growth of peak memory, bytes of input and bytes on disk."""
    made = list(contents(passages, dimension))
    size = sum(len(raw(document, split[0], vectors)) for document, split, vectors in made)
    before = peak()
    with TemporaryDirectory(dir=folder) as work:
        start = time.perf_counter()
        WAYS[way](made, Path(work))
        seconds = time.perf_counter() - start
        on_disk = sum(file.stat().st_size for file in Path(work).iterdir())
    return seconds, peak() - before, size, on_disk


def peak() -> int:
    """Return the process's peak resident memory in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--folder", default=".", help="on the disk to measure")
    args = parser.parse_args()
    run = partial(measure, passages=args.passages, dimension=args.dimension, folder=args.folder)
    plain = 0.0
    heads = f"{'':12}{'seconds':>9}{'passages/s':>12}{'MB/s':>7}"
    print(f"{heads}{'of plain':>10}{'disk':>9}{'memory':>9}")
    for way in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory, size, on_disk = pool.apply(run, (way,))
        speed = size / seconds / 1e6
        plain = plain or speed
        print(
            f"{way:12}{seconds:9.2f}{args.passages / seconds:12,.0f}{speed:7.0f}"
            f"{speed / plain:10.0%}{on_disk / 1e6:6.0f} MB{memory / 1e6:6.0f} MB"
        )


if __name__ == "__main__":
    main()

"""Indexes millions of passages inside a memory ceiling, and searches them.

    python benchmarks/five_million.py FOLDER [--passages 5000000] [--ceiling-gb 4]

Documents of 16 passages of about 200 characters go into a collection by the bulk path
(`Collection.add_embedded`); then both indexes are built, the collection is opened again, searched
in three ways and counted. Vectors are made from the words of a text without a model: a topic's
direction and those of its words, so near neighbours mean something and every run has the same ones.

The ceiling is a memory cgroup of its own where one can be made (version 1 or 2, as root), which
counts pages of files that are mapped or written, too; elsewhere it is RLIMIT_DATA.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import numpy as np

from rag import Collection, DenseRetriever, Document, HybridRetriever, LexicalRetriever, Passage
from rag.core.progress import Progress, silent
from rag.core.protocols import Vectors
from rag.indexes.indexing import Embedded
from rag.indexes.vectors import Codes, Kind

PASSAGES_A_DOCUMENT = 16
WORDS_A_PASSAGE = 32
VOCABULARY = 50_000
TOPICS = 2000
QUERIES = 100
MOST_SECONDS = 60.0
"""No more queries after so long, for each way to search."""


class TopicEmbedder:
    """Embeds a text as the mean of its words' directions; words of a topic are near each other.

    Args:
        dimension: Length of a vector.
    """

    name = "topics"
    revision = "1"
    pooling = "mean"
    normalized = True
    special_tokens = 0
    max_tokens = 512
    query_prefix = ""
    passage_prefix = ""

    def __init__(self, dimension: int = 384) -> None:
        self.dimension = dimension
        rng = np.random.default_rng(0)
        topics = rng.standard_normal((TOPICS, dimension), np.float32)
        own = rng.standard_normal((VOCABULARY, dimension), np.float32)
        self._words = topics[np.arange(VOCABULARY) % TOPICS] + own

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return where the words are."""
        found = []
        for text in texts:
            ends = [place for place, each in enumerate(text + " ") if each == " "]
            found.append(list(zip([0, *(end + 1 for end in ends)], ends, strict=False)))
        return found

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed queries."""
        return self.embed_numbers([[_number(word) for word in text.split()] for text in texts])

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        """Embed passages."""
        return self.embed_queries(texts)

    def embed_numbers(self, words: Sequence[Sequence[int]] | np.ndarray) -> Vectors:
        """Embed texts given as the numbers of their words."""
        sums = np.array([self._words[np.asarray(each)].sum(axis=0) for each in words], np.float32)
        sums /= np.linalg.norm(sums, axis=1, keepdims=True)
        return sums


def _word(number: int) -> str:
    """Return a word of syllables: digits in it would make it a compound, which few words are."""
    return "".join("bdfgklmnpr"[int(digit)] + "aeiouaeiou"[int(digit)] for digit in f"{number}")


WORDS = [_word(number) for number in range(VOCABULARY)]
NUMBERS = {word: number for number, word in enumerate(WORDS)}


def _number(word: str) -> int:
    return NUMBERS[word] if word in NUMBERS else crc32(word.encode()) % VOCABULARY


def word_numbers(rng: np.random.Generator, passages: int) -> np.ndarray:
    """Return the words of passages: half of one topic, half as words are in language (Zipf)."""
    topics = rng.integers(TOPICS, size=(passages, 1))
    of_topic = topics + TOPICS * rng.integers(VOCABULARY // TOPICS, size=(passages, 16))
    common = np.minimum(rng.zipf(1.2, size=(passages, 16)), VOCABULARY - 1)
    return np.concatenate([of_topic, common], axis=1)


def contents(passages: int, embedder: TopicEmbedder) -> Iterator[Embedded]:
    """Yield documents with passages and vectors, the same ones every time."""
    for number in range(-(-passages // PASSAGES_A_DOCUMENT)):
        count = min(PASSAGES_A_DOCUMENT, passages - number * PASSAGES_A_DOCUMENT)
        words = word_numbers(np.random.default_rng([1, number]), count)
        texts = [" ".join([WORDS[each] for each in row]) for row in words.tolist()]
        name, text = f"report-{number:08}", "\n".join(texts)
        split, start = [], 0
        for each in texts:
            place = f"{name}#{start}"
            split.append(Passage(place, name, each, start, start + len(each)))
            start += len(each) + 1
        document = Document(name, text, metadata={"part": number % 100})
        yield document, split, embedder.embed_numbers(words).astype(np.float16)


@contextmanager
def stage(name: str, stages: dict[str, float]) -> Iterator[None]:
    """Time a stage and print what memory has been needed so far."""
    start = time.perf_counter()
    yield
    stages[name] = time.perf_counter() - start
    print(f"{name:32}{stages[name]:10.1f} s{peak() / 1e9:9.2f} GB peak", flush=True)


def peak() -> int:
    """Return the process's peak resident memory in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def index_all(
    folder: Path,
    passages: int,
    embedder: TopicEmbedder,
    index: Kind,
    codes: Codes,
    stages: dict[str, float],
) -> None:
    """Make the collection."""
    with stage("making the input alone", stages):
        sample = min(passages, 50_000)
        for _ in contents(sample, embedder):
            pass
    per_passage = stages["making the input alone"] / sample
    print(f"{'  for all of it':32}{per_passage * passages:10.1f} s")
    with Collection.create(folder, embedder, index=index, codes=codes) as collection:
        with stage("store, lexical and vector index", stages):
            report = collection.add_embedded(contents(passages, embedder))
        assert report.passages == passages, report


def work(folder: Path, passages: int, index: Kind, codes: Codes) -> None:
    """Index and search."""
    embedder = TopicEmbedder()
    stages: dict[str, float] = {}
    if not folder.exists():
        index_all(folder, passages, embedder, index, codes, stages)
    queries = [
        " ".join(WORDS[each] for each in row[:8].tolist())
        for row in word_numbers(np.random.default_rng(2), QUERIES)
    ]
    with stage("opening", stages):
        collection = Collection.open(folder, embedder)
    with collection:
        searches = {
            "dense": DenseRetriever(collection),
            "lexical": LexicalRetriever(collection),
            "hybrid": HybridRetriever(collection),
        }
        for name, retriever in searches.items():
            with stage(f"first {name} search", stages):
                assert len(retriever.search(queries[0], 10)) == 10, name
            times = []
            for query in queries:
                began = time.perf_counter()
                assert len(retriever.search(query, 10)) == 10, name
                times.append(time.perf_counter() - began)
                if sum(times) > MOST_SECONDS:
                    break
            stages[f"{name} search"] = statistics.median(times)
            print(f"  median of {len(times):<20}{1000 * stages[f'{name} search']:12.1f} ms")
        info = collection.info()
    assert info.passages == passages, info
    sizes = {"store": info.store_bytes, "vectors": info.vector_bytes, "words": info.lexical_bytes}
    print(
        {name: f"{size / 1e9:.2f} GB" for name, size in sizes.items()}, f"of {passages:,} passages"
    )
    print(json.dumps({"stages": stages, "peak_bytes": peak(), "bytes": sizes}))


def limit_memory(ceiling: int) -> str:
    """Put this process under a ceiling and say which."""
    name = f"five-million-{os.getpid()}"
    for parent, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = parent / name
        try:
            group.mkdir()
            (group / limit).write_text(str(ceiling))
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return f"memory cgroup {group}"
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
    return "RLIMIT_DATA"


def main() -> None:
    """Run in a process of its own, under the ceiling."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder",
        type=Path,
        help="a collection is made here and kept; one that is there is searched",
    )
    parser.add_argument("--passages", type=int, default=5_000_000)
    parser.add_argument("--ceiling-gb", type=float, default=4.0)
    parser.add_argument("--index", default="ivf")
    parser.add_argument("--codes", default="pq")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.child:
        done = subprocess.run([sys.executable, *sys.argv, "--child"], check=False)
        for group in Path("/sys/fs/cgroup").glob("**/five-million-*"):
            group.rmdir()
        print("done" if done.returncode == 0 else f"died with {done.returncode}")
        raise SystemExit(done.returncode)
    ceiling = int(args.ceiling_gb * 1e9)
    print(f"ceiling {args.ceiling_gb:g} GB by {limit_memory(ceiling)}", flush=True)
    work(args.folder, args.passages, args.index, args.codes)


if __name__ == "__main__":
    main()

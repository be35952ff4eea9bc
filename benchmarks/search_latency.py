"""Latency of single searches, against the bare calls that they are made of.

    python benchmarks/search_latency.py [FOLDER…] [--passages 100000] [--work build/benchmarks]

The corpus is the text of the data sets in the folders, `tests/data` by default, cut into passages
of about 80 words; where that is too little, sentences are drawn at random for the rest. Queries
are those of the data sets, and embedded by the default embedder. Passages get random vectors: an
exact search takes as long over them, and is there hours earlier.

Everything is timed query by query in turn, so that all of it meets the same machine:

- dense against the embedder's call and FAISS's `IndexFlatIP.search` over the same vectors, on
  one thread, which is its fastest;
- lexical against a tantivy index of the same passages with tantivy's English stemmer, whose query
  has the same form, a term for each word, and whose hits are read from its own document store;
- lexical against rank_bm25's `BM25Okapi`, on a few of the queries;
- hybrid against the sum of the dense and the lexical search.
"""

import argparse
import itertools
import json
import random
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import tantivy
from rank_bm25 import BM25Okapi

from rag import (
    Collection,
    DenseRetriever,
    Document,
    HybridRetriever,
    LexicalRetriever,
    load_embedder,
)
from rag.evaluation import read_dataset

WORDS = 80
TOP_K = 10
SLOW_QUERIES = 10
DATA = Path(__file__).parents[1] / "tests" / "data"


class RandomPassageVectors:
    """The default embedder, but for passages, which get random vectors of length 1."""

    def __init__(self) -> None:
        self._embedder = load_embedder()
        self._rng = np.random.default_rng(0)

    def __getattr__(self, name: str) -> object:
        """Return what the default embedder has."""
        return getattr(self._embedder, name)

    def embed_passages(self, texts: list[str], progress: object = None) -> np.ndarray:
        """Return random vectors."""
        vectors = self._rng.standard_normal((len(texts), self.dimension), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def passages(folders: list[Path]) -> Iterator[Document]:
    """Yield passages of real text, then passages of real sentences in random order."""
    sentences = []
    number = itertools.count()
    for folder in folders:
        for document in read_dataset(folder).documents():
            sentences += re.split(r"(?<=[.!?])\s+", document.text)
            words = document.text.split()
            for start in range(0, len(words), WORDS):
                text = " ".join(words[start : start + WORDS])
                yield Document(str(next(number)), text, document.title)
    rng = random.Random(0)
    while True:
        text = ""
        while len(text.split()) < WORDS:
            text += rng.choice(sentences) + " "
        yield Document(str(next(number)), text)


def build(path: Path, documents: list[Document], embedder: RandomPassageVectors) -> None:
    """Build the collection, unless one of so many documents is there."""
    if path.exists():
        with Collection.open(path, embedder) as collection:
            if collection.info().documents == len(documents):
                return
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Collection.create(path, embedder) as collection:
        collection.add(documents)


def bare_faiss(
    documents: list[Document], embedder: RandomPassageVectors
) -> Callable[[str], object]:
    """Return the embedder's call and FAISS's, on the number of threads that is best for one query.

    That is one: with FAISS's default, a query waits for threads that spin beside torch's own.
    """
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(embedder.dimension)
    index.add(embedder.embed_passages([each.text for each in documents]))
    return lambda query: index.search(embedder.embed_queries([query]), TOP_K)


def bare_tantivy(documents: list[Document]) -> Callable[[str], object]:
    """Return a search in a tantivy index in memory."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=True, tokenizer_name="en_stem")
    schema = builder.build()
    index = tantivy.Index(schema)
    writer = index.writer(128_000_000, num_threads=1)
    for document in documents:
        writer.add_document(tantivy.Document(text=f"{document.title}\n{document.text}"))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()
    analyzer = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )

    def search(query: str) -> object:
        terms = [
            (tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word))
            for word in analyzer.analyze(query)
        ]
        hits = searcher.search(tantivy.Query.boolean_query(terms), TOP_K, count=False).hits
        return [(score, searcher.doc(address)["text"]) for score, address in hits]

    return search


def rank_bm25(documents: list[Document]) -> Callable[[str], object]:
    """Return a search by rank_bm25."""
    texts = [each.text for each in documents]
    index = BM25Okapi([text.lower().split() for text in texts])
    return lambda query: index.get_top_n(query.lower().split(), texts, TOP_K)


def medians(calls: dict[str, Callable[[str], object]], queries: list[str]) -> dict[str, float]:
    """Return the median milliseconds of each call, taking turns query by query."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call(queries[0])
    order = list(calls)
    for query in queries:
        for name in order:
            began = time.perf_counter()
            calls[name](query)
            seconds[name].append(time.perf_counter() - began)
        # Whoever comes first finds other things in the processor's caches.
        order.append(order.pop(0))
    return {name: 1e3 * statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    """Print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    folders = args.folders or sorted(path for path in DATA.iterdir() if path.is_dir())
    documents = list(itertools.islice(passages(folders), args.passages))
    queries = [query.text for folder in folders for query in read_dataset(folder).queries]
    random.Random(0).shuffle(queries)
    queries = queries[: args.queries]
    embedder = RandomPassageVectors()
    path = args.work / f"latency-{args.passages}"
    build(path, documents, embedder)

    embedder.embed_queries(queries[:1])
    began = time.perf_counter()
    collection = Collection.open(path, embedder)
    opened = time.perf_counter() - began
    hybrid = HybridRetriever(collection)
    hybrid.search(queries[0], TOP_K)
    first = time.perf_counter() - began

    dense, lexical = DenseRetriever(collection), LexicalRetriever(collection)
    times = medians(
        {
            "dense": lambda query: dense.search(query, TOP_K),
            "bare embedding and FAISS": bare_faiss(documents, embedder),
            "lexical": lambda query: lexical.search(query, TOP_K),
            "bare tantivy": bare_tantivy(documents),
            "hybrid": lambda query: hybrid.search(query, TOP_K),
        },
        queries,
    )
    times |= medians({"rank_bm25": rank_bm25(documents)}, queries[:SLOW_QUERIES])
    collection.close()

    ratios = {
        "dense / bare": times["dense"] / times["bare embedding and FAISS"],
        "lexical / bare": times["lexical"] / times["bare tantivy"],
        "rank_bm25 / lexical": times["rank_bm25"] / times["lexical"],
        "hybrid / (dense + lexical)": times["hybrid"] / (times["dense"] + times["lexical"]),
    }
    seconds = {"open": opened, "open and first search": first}
    if args.json:
        print(json.dumps({"milliseconds": times, "ratios": ratios, "seconds": seconds}, indent=2))
        return
    print(f"{len(documents):,} passages, {len(queries)} queries, top {TOP_K}; medians")
    for name, value in times.items():
        print(f"{name:28}{value:10.2f} ms")
    for name, value in ratios.items():
        print(f"{name:28}{value:10.2f}")
    for name, value in seconds.items():
        print(f"{name:28}{value:10.3f} s")


if __name__ == "__main__":
    main()

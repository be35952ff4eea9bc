"""What mixed ranking makes of a search engine that orders its results at random.

    python benchmarks/web_ranking.py FOLDER… [--queries 100] [--work build/benchmarks] [--json]

Each folder is a data set with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`. Its documents are
the pages. To each question an engine returns the pages that come with it and as many others, or,
where none come with it, those that hybrid retrieval finds and those that are relevant: in a random
order, with their first 25 words as snippets. `WebRetriever` reads them all. The table has the
nDCG@10 of its order and of each of its signals alone, how the mixed order differs from each (with
the 95 % bootstrap interval and the p-value of the paired randomisation test), and Kendall's tau of
each order with the engine's.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from scipy.stats import kendalltau

from rag import Collection, HybridRetriever, load_embedder
from rag.core.documents import Document
from rag.core.hits import Hit
from rag.core.protocols import Embedder
from rag.core.sensitivity import PUBLIC
from rag.core.web import Page, WebQuery, WebResult, WebResults
from rag.evaluation import RetrievalDataset, read_dataset
from rag.evaluation.metrics import ndcg
from rag.evaluation.significance import compare
from rag.retrievers.web import WebRetriever

RESULTS = 20
SNIPPET_WORDS = 25
SIGNALS = (
    "engine",
    "snippet_lexical",
    "snippet_dense",
    "page_lexical",
    "page_dense",
    "passage_lexical",
    "passage_dense",
)


class ShuffledWeb:
    """A search engine and a fetcher over a data set."""

    name = "shuffled"
    discloses = PUBLIC
    capabilities = frozenset[str]()

    def __init__(self, documents: dict[str, Document], found: dict[str, list[str]]) -> None:
        self.documents = documents
        self.found = found

    def cost(self, query: WebQuery) -> float:
        """Return nothing: a search is free."""
        return 0.0

    def search_web(self, queries: Sequence[WebQuery]) -> list[WebResults]:
        """Return the results of each query in their random order."""
        return [
            WebResults(
                tuple(
                    WebResult(url(each), self.documents[each].title, snippet, rank, self.name)
                    for rank, each in enumerate(self.found[query.text], start=1)
                    for snippet in [" ".join(self.documents[each].text.split()[:SNIPPET_WORDS])]
                )
            )
            for query in queries
        ]

    def fetch_many(self, urls: Sequence[str]) -> list[Page]:
        """Return the page of each URL."""
        return [
            Page(each, replace(self.documents[each.partition("//")[2]], uri=each)) for each in urls
        ]


def url(document_id: str) -> str:
    """Return the URL of a document: each has a host of its own."""
    return f"http://{document_id}"


def candidates(
    dataset: RetrievalDataset, ids: list[str], work: Path, embedder: Embedder
) -> Iterator[tuple[str, list[str]]]:
    """Yield for each question the pages that an engine finds, in a random order."""
    if not dataset.candidates:
        hybrid = HybridRetriever(build(dataset, work / dataset.name, embedder))
    for query in dataset.queries:
        rng = random.Random(f"0 {query.id}")
        if dataset.candidates:
            found = {*dataset.candidates[query.id]}
            found |= {*rng.sample(ids, RESULTS // 2)}
        else:
            found = {hit.passage.document_id for hit in hybrid.search(query.text, RESULTS)}
            found |= {*dataset.judgements[query.id]}
        # Sorted first: the order of a set differs from run to run.
        yield query.text, rng.sample(sorted(found), len(found))


def build(dataset: RetrievalDataset, path: Path, embedder: Embedder) -> Collection:
    """Return the data set's collection; documents that it holds already are passed over."""
    if path.exists():
        collection = Collection.open(path, embedder, writable=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        collection = Collection.create(path, embedder)
    collection.add(dataset.documents())
    return collection


def order_by(signal: str, hits: Sequence[Hit]) -> list[str]:
    """Return the pages in the order of one signal, or of the hits for 'mixed'."""
    if signal != "mixed":
        hits = sorted(hits, key=lambda hit: (-hit.scores[signal], hit.passage.id))
    return [*dict.fromkeys(document for hit in hits for document in documents_of(hit))]


def documents_of(hit: Hit) -> list[str]:
    """Return the documents that have the text of a hit; the fold keeps the URLs of the others."""
    others = hit.passage.metadata.get("also_at", [])
    return [hit.passage.document_id, *(each.partition("//")[2] for each in others)]


def measure(
    folder: Path, queries: int, work: Path, embedder: Embedder
) -> Iterator[dict[str, str | int | float]]:
    """Yield the figures of each order on one data set."""
    dataset = read_dataset(folder)
    documents = {each.id: each for each in dataset.documents()}
    found = dict(candidates(dataset, sorted(documents), work, embedder))
    web = ShuffledWeb(documents, found)
    retriever = WebRetriever([web], web, embedder, results=2 * RESULTS, pages=2 * RESULTS)
    asked = dataset.queries[:queries]
    hits = dict(zip(asked, retriever.search_many([each.text for each in asked], 1000), strict=True))
    values: dict[str, dict[str, float]] = {}
    for signal in ("mixed", *SIGNALS):
        orders = {query.id: order_by(signal, hits[query]) for query in asked}
        values[signal] = {
            query.id: ndcg(orders[query.id], dataset.judgements[query.id], 10) for query in asked
        }
        taus = [
            kendalltau(
                range(len(orders[query.id])),
                [found[query.text].index(each) for each in orders[query.id]],
            ).statistic
            for query in asked
        ]
        against = compare(values["mixed"], values[signal])
        yield {
            "data set": dataset.name,
            "queries": len(asked),
            "order": signal,
            "nDCG@10": against.baseline_mean,
            "mixed is better by": against.difference,
            "low": against.low,
            "high": against.high,
            "p": against.p_value,
            "tau with engine": sum(taus) / len(taus),
        }


def main() -> None:
    """Print a table, or a JSON list with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    embedder = load_embedder()
    rows = []
    for folder in args.folders:
        for row in measure(folder, args.queries, args.work, embedder):
            if not args.json:
                if not rows:
                    print(*(f"{name:>18}" for name in row), sep="  ")
                print(*(f"{cell(row[name]):>18}" for name in row), sep="  ")
            rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=2))


def cell(value: object) -> str:
    """Return a value as the table shows it."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

"""Answers over a web whose search engine orders its results at random.

    python benchmarks/web_answers.py FOLDER… [--questions 100] [--llm NAME --asked 20] [--json]

Each folder is a data set with `corpus.jsonl`, `queries.jsonl` with answers, and `qrels.tsv`. Every
document becomes an HTML page with the furniture of a site, on one of eight addresses of this
machine. A search engine finds twenty pages to a question (BM25 over all of them, so that the
pages of other questions distract) and returns them shuffled; half of them are read.

`WebRetriever` ranks by all signals together ('mixed') and by each alone. The table has, over the
first `top_k` passages: the share of the relevant pages that are among them, and how good the
answers are that quote sentences of them (`ExtractiveRead`) or that a model reads from them (`DRAG`
without examples, of the first `--asked` questions). In brackets is the p-value of the paired
randomisation test against the mixed order.
"""

import argparse
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rag import DRAG, Allocation, ExtractiveRead, load_embedder, load_llm
from rag.core.documents import Document
from rag.core.progress import Progress, silent
from rag.core.protocols import LLM, Embedder, Vectors
from rag.evaluation import RetrievalDataset, evaluate_answers, read_dataset
from rag.evaluation.datasets import Query
from rag.evaluation.significance import compare
from rag.models.cached_llm import CachedLLM
from rag.retrievers.mixed_ranking import MixedWeights
from rag.retrievers.remembered import RememberedRetriever
from rag.retrievers.web import WebRetriever
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb, ServedPage
from rag.web.engines.searxng import SearXNG
from rag.web.fetcher import WebFetcher

SITES = 8
RESULTS = 20
PAGES = 10

_NONE = MixedWeights(0, 0, 0, 0, repeat=0)
ORDERS: Mapping[str, MixedWeights | None] = {
    "mixed": None,
    "engine": replace(_NONE, engine=1),
    "snippet, words": replace(_NONE, snippet=1, dense=0),
    "snippet, meaning": replace(_NONE, snippet=1, dense=1),
    "page, words": replace(_NONE, page=1, dense=0),
    "page, meaning": replace(_NONE, page=1, dense=1),
    "passage, words": replace(_NONE, passage=1, dense=0),
    "passage, meaning": replace(_NONE, passage=1, dense=1),
}
"""The weights of each order; None for the retriever's own."""

Values = dict[str, dict[str, float]]
"""A value for each query id, by the name of what is measured."""


class RememberingEmbedder:
    """Embeds each text once, for orders that rank the same pages."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Vectors] = {}

    def __getattr__(self, name: str) -> Any:
        """Return what the embedder itself has."""
        return getattr(self._embedder, name)

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        """Return a vector for each text; shape (texts, dimension)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._embedder.embed_passages(new, progress), strict=True))
        return np.stack([self._known[text] for text in texts])


@dataclass(frozen=True)
class Web:
    """A data set as a web.

    Args:
        engine: The search engine.
        urls: The URL of each document.
    """

    engine: LoopbackSearXNG
    urls: Mapping[str, str]


def serve(dataset: RetrievalDataset, stack: ExitStack, seed: int) -> Web:
    """Serve the documents of a data set until the stack is left."""
    documents = list(dataset.documents())
    pages: list[dict[str, bytes | str | ServedPage]] = [{} for _ in range(SITES)]
    sites = [
        stack.enter_context(LoopbackWeb(own, host=f"127.0.0.{number}"))
        for number, own in enumerate(pages, start=2)
    ]
    urls = {}
    for number, document in enumerate(documents):
        urls[document.id] = sites[number % SITES].url(f"/{number}.html")
        body = as_html(document, [each.title for each in documents[number + 1 : number + 6]])
        kept = ServedPage(body, headers={"Cache-Control": "max-age=86400"})
        pages[number % SITES][f"/{number}.html"] = kept
    found = [replace(document, uri=urls[document.id]) for document in documents]
    return Web(stack.enter_context(LoopbackSearXNG(found, order="shuffled", seed=seed)), urls)


def as_html(document: Document, others: Sequence[str]) -> str:
    """Return a document as a page of a site: with a menu, related pages and a notice."""
    title = html.escape(document.title)
    paragraphs = "".join(
        f"<p>{html.escape(each)}</p>" for each in document.text.split("\n") if each
    )
    related = "".join(f'<li><a href="#">{html.escape(each)}</a></li>' for each in others)
    return f"""<!DOCTYPE html><html lang="en"><head><title>{title}</title></head><body>
<header><nav><a href="/">Home</a> <a href="/news">News</a> <a href="/in">Log in</a></nav></header>
<div class="cookie-notice">We use cookies to improve your experience. <button>Accept</button></div>
<main><article><h1>{title}</h1>{paragraphs}</article></main>
<aside><h2>Related pages</h2><ul>{related}</ul></aside>
<footer>All rights reserved. <a href="/imprint">Imprint</a></footer></body></html>"""


def measure(
    dataset: RetrievalDataset, queries: Sequence[Query], args: argparse.Namespace, llm: LLM | None
) -> Iterator[tuple[str, Values]]:
    """Yield the values of each order."""
    embedder = RememberingEmbedder(load_embedder())
    with ExitStack() as stack:
        web = serve(dataset, stack, args.seed)
        fetcher = stack.enter_context(WebFetcher(allow=["127.0.0.0/8"], respect_robots=False))
        for name in dict.fromkeys(("mixed", *args.orders)):
            retriever = WebRetriever(
                [SearXNG(web.engine.url(), per_second=1000)],
                fetcher,
                embedder,
                results=RESULTS,
                pages=PAGES,
                per_domain=RESULTS,
                weights=ORDERS[name],
            )
            yield name, values(dataset, queries, RememberedRetriever(retriever), web, args, llm)


def values(
    dataset: RetrievalDataset,
    queries: Sequence[Query],
    retriever: RememberedRetriever,
    web: Web,
    args: argparse.Namespace,
    llm: LLM | None,
) -> Values:
    """Return what one order is worth on each question."""
    found = retriever.search_many([query.text for query in queries], args.top_k)
    recall = {}
    for query, hits in zip(queries, found, strict=True):
        read = {hit.passage.document_id for hit in hits}
        relevant = {web.urls[each] for each in dataset.judgements[query.id]}
        recall[query.id] = len(read & relevant) / len(relevant)
    quoted = evaluate_answers(queries, ExtractiveRead(retriever, top_k=args.top_k)).values
    measured = {
        "relevant pages": recall,
        "quotes: F1": quoted["F1"],
        "quotes: accuracy": quoted["accuracy"],
    }
    if llm is not None:
        reader = DRAG(retriever, llm, allocation=Allocation(args.top_k))
        answers = evaluate_answers(queries[: args.asked], reader).values
        measured |= {"model: F1": answers["F1"], "model: accuracy": answers["accuracy"]}
    return measured


def table(measured: Mapping[str, Values]) -> Iterator[dict[str, str | float]]:
    """Yield a row for each order."""
    for name, own in measured.items():
        row: dict[str, str | float] = {"order": name}
        for metric, by_query in own.items():
            against = compare(measured["mixed"][metric], by_query)
            row[metric] = fmean(by_query.values())
            row |= {
                f"{metric}, mixed is better by": against.difference,
                f"{metric}, p": against.p_value,
            }
        yield row


def main() -> None:
    """Print a table for each data set, or a JSON list with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--llm", help="a model that reads, by its name")
    parser.add_argument("--asked", type=int, default=20, help="questions that it is asked")
    parser.add_argument("--top-k", type=int, default=3, help="passages that are read")
    parser.add_argument("--seed", type=int, default=0, help="of the engine's orders")
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=[*ORDERS])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    with TemporaryDirectory() as scratch:
        # Orders often agree on what is read; then the model is asked once.
        llm = CachedLLM(load_llm(args.llm), Path(scratch) / "replies") if args.llm else None
        run(args, llm)


def run(args: argparse.Namespace, llm: LLM | None) -> None:
    """Measure all folders, and print."""
    rows = []
    for folder in args.folders:
        dataset = read_dataset(folder)
        queries = [query for query in dataset.queries if query.answers][: args.questions]
        measured = dict(measure(dataset, queries, args, llm))
        rows += [{"data set": dataset.name, **row} for row in table(measured)]
        if not args.json:
            show(f"{dataset.name}, {len(queries)} questions", rows[-len(measured) :])
    if args.json:
        print(json.dumps(rows, indent=2))


def show(heading: str, rows: Sequence[Mapping[str, str | float]]) -> None:
    """Print the rows of one data set."""
    metrics = [name for name in rows[0] if f"{name}, p" in rows[0]]
    print(f"\n{heading}\n{'order':18}" + "".join(f"{name:>28}" for name in metrics), flush=True)
    for row in rows:
        cells = [f"{row[name]:.3f} ({row[f'{name}, p']:.4f})" for name in metrics]
        print(f"{row['order']:18}" + "".join(f"{cell:>28}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()

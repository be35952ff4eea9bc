"""Quality of the dense, lexical and hybrid retrievers on whole data sets.

    python benchmarks/retrieval_quality.py FOLDER… [--work build/benchmarks] [--json]

Each folder holds `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`. Its collection is built with the
default embedder and settings, and kept in the work folder for the next time.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from rag import Collection, DenseRetriever, HybridRetriever, LexicalRetriever, load_embedder
from rag.core.protocols import Embedder
from rag.evaluation import RetrievalDataset, evaluate_retrieval, read_dataset

WIDTH = {"data set": 26}
RETRIEVERS = (LexicalRetriever, DenseRetriever, HybridRetriever)


def build(dataset: RetrievalDataset, path: Path, embedder: Embedder) -> Collection:
    """Return the data set's collection; documents that it holds already are passed over."""
    if path.exists():
        collection = Collection.open(path, embedder, writable=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        collection = Collection.create(path, embedder)
    collection.add(dataset.documents())
    return collection


def measure(folder: Path, work: Path, embedder: Embedder) -> Iterator[dict[str, str | int | float]]:
    """Yield the figures of each retriever on one data set."""
    dataset = read_dataset(folder)
    with build(dataset, work / dataset.name, embedder) as collection:
        info = collection.info()
        for kind in RETRIEVERS:
            report = evaluate_retrieval(dataset, kind(collection))
            yield {
                "data set": dataset.name,
                "queries": len(dataset.queries),
                "documents": info.documents,
                "passages": info.passages,
                "retriever": report.run.name,
                **report.means,
                "queries/s": round(report.queries_per_second, 1),
            }


def main() -> None:
    """Print a table, or a JSON list with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    embedder = load_embedder()
    rows = []
    for folder in args.folders:
        for row in measure(folder, args.work, embedder):
            if not args.json:
                if not rows:
                    print(*(f"{name:>{WIDTH.get(name, 10)}}" for name in row), sep="  ")
                print(*(f"{cell(row[name]):>{WIDTH.get(name, 10)}}" for name in row), sep="  ")
            rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=2))


def cell(value: object) -> str:
    """Return a value as the table shows it."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

"""Quality of the dense, lexical and hybrid retrievers on whole data sets.

    python benchmarks/retrieval_quality.py FOLDER… [--work build/benchmarks] [--json]

Each folder holds `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`. Its collection is built with the
default embedder and settings, and kept in the work folder for the next time.
"""

import argparse
import json
from pathlib import Path

from rag import Collection, DenseRetriever, HybridRetriever, LexicalRetriever, load_embedder
from rag.core.protocols import Embedder
from rag.evaluation import RetrievalDataset, evaluate_retrieval, read_dataset
from rag.evaluation.retrieval import METRICS

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


def measure(folder: Path, work: Path, embedder: Embedder) -> dict[str, object]:
    """Return the figures of one data set."""
    dataset = read_dataset(folder)
    with build(dataset, work / dataset.name, embedder) as collection:
        info = collection.info()
        reports = [evaluate_retrieval(dataset, kind(collection)) for kind in RETRIEVERS]
    return {
        "dataset": dataset.name,
        "queries": len(dataset.queries),
        "documents": info.documents,
        "passages": info.passages,
        **{
            report.run.name: {**report.means, "queries/s": report.queries_per_second}
            for report in reports
        },
    }


def main() -> None:
    """Print a table, or a JSON list with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    embedder = load_embedder()
    results = []
    names = [kind.name for kind in RETRIEVERS]
    if not args.json:
        print(f"{'':24}{'':>21}  " + "  ".join(f"{name:^22}" for name in names))
        columns = "  ".join("".join(f"{metric[:7]:>8}" for metric in METRICS)[2:] for _ in names)
        print(f"{'data set':24}{'queries':>9}{'documents':>12}  {columns}")
    for folder in args.folders:
        result = measure(folder, args.work, embedder)
        results.append(result)
        if not args.json:
            values = "  ".join(
                "".join(f"{result[name][metric]:8.3f}" for metric in METRICS)[2:] for name in names
            )
            print(
                f"{result['dataset']:24}{result['queries']:9}{result['documents']:12}  {values}",
                flush=True,
            )
    if args.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

"""Rerankers side by side, on one model, one data set and one first stage.

    python benchmarks/reranking.py DATASET [--run RUN] [--llm MODEL] [--methods A,B,…] [--queries N]
        [--depth 20] [--window 20] [--top-k 10] [--passage-tokens 64] [--shuffle]
        [--ratio | --cached]

DATASET is a folder in BEIR's layout. The first stage is a TREC run, such as `rag eval retrieval
DATASET --save RUN` writes, or else the lists in the data set's `candidates.jsonl`. For each method
it prints nDCG@10, its difference to the first stage with the p-value of a paired randomisation
test, and for a query: calls, tokens read, those of them that were computed (the others were in the
prefix cache), tokens written and seconds; then what came of the windows. Queries run in batches.
Methods get the prefix cache empty. With `--shuffle` the first `--depth` of each list come in random
order, the same for all methods: a model that copies the order it is shown gains nothing then.

With `--ratio` it compares FIRST with generated permutations on the same windows instead: one query
at a time, in turns, in one window of the first `--depth`; the last line is the ratio of seconds.

With `--cached` it compares query likelihood over passages that were encoded once, in an earlier run
of the same queries, with reading them for every query, in turns. A prompt has one passage, so both
compute the same.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rag.context import ApeSettings, ParallelLLM
from rag.core.protocols import LLM
from rag.core.usage import Usage
from rag.evaluation import (
    Metric,
    Query,
    RankedDocument,
    RerankReport,
    RetrievalDataset,
    Run,
    compare,
    read_dataset,
    rerank_run,
)
from rag.models import TransformersLLM, load_llm
from rag.models.lanes import on_lane
from rag.models.prefix_cache import PrefixCache
from rag.rerankers import METHODS, load_reranker

NDCG = Metric.parse("nDCG@10")
COLUMNS = ("nDCG@10", "differs", "p", "calls", "read", "computed", "written", "seconds")


class Comparison:
    """Reranks with one method after the other, or with two in turns."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.dataset: RetrievalDataset = read_dataset(args.dataset)
        self.run = Run.read(args.run) if args.run else Run.of_candidates(self.dataset)
        self.queries = self.dataset.queries[: args.queries]
        if args.shuffle:
            self.run = shuffled(self.run, args.depth)
        self.documents = self._documents()
        llm = load_llm(args.llm)
        assert isinstance(llm, TransformersLLM)
        self.llm = llm

    def _documents(self) -> list:
        ids = {
            each.id
            for query in self.queries
            for each in self.run.rankings.get(query.id, ())[: self.args.depth]
        }
        return [document for document in self.dataset.documents() if document.id in ids]

    def rerank(self, method: str, queries: Sequence[Query], llm: LLM | None = None) -> RerankReport:
        """Rerank the lists of some queries, with no beginnings kept from before."""
        options = {"passage_tokens": self.args.passage_tokens}
        if method.startswith(("sliding", "tournament-")):
            options["window"] = self.args.window
        # On the model's thread, which may still be keeping what the last replies read.
        on_lane(self.llm._model.device, self._forget)
        return rerank_run(
            load_reranker(method, llm or self.llm, **options),
            queries,
            self.run,
            self.documents,
            depth=self.args.depth,
            top_k=self.args.top_k,
        )

    def _forget(self) -> None:
        reader = self.llm._reader
        reader.prefixes = PrefixCache(reader.prefixes.capacity)

    def ndcg(self, run: Run) -> dict[str, float]:
        """Return nDCG@10 of each query."""
        values = run.evaluate(self.dataset.judgements, NDCG)
        return {query.id: values[query.id] for query in self.queries}

    def table(self) -> None:
        """Print a line a method."""
        print(f"{'':32}" + "".join(f"{name:>10}" for name in COLUMNS))
        first = self.ndcg(self.run)
        print(f"{'first stage':32}{fmean(first.values()):10.4f}")
        for method in self.args.methods.split(","):
            report = self.rerank(method, self.queries)
            test = compare(self.ndcg(report.run), first)
            count, used = len(self.queries), report.usage
            cells = [
                f"{test.mean:.4f}",
                f"{test.difference:+.4f}",
                f"{test.p_value:.3f}",
                f"{used.calls / count:.1f}",
                f"{used.input_tokens / count:.0f}",
                f"{used.computed_tokens / count:.0f}",
                f"{used.output_tokens / count:.1f}",
                f"{report.seconds / count:.2f}",
            ]
            came = ", ".join(f"{status} {n}" for status, n in report.statuses.items())
            print(
                f"{method:32}" + "".join(f"{cell:>10}" for cell in cells) + f"  {came}", flush=True
            )

    def ratio(self) -> None:
        """Print how FIRST and generated permutations compare on the same windows."""
        methods = ("full-first-token", "full-permutation")
        self.args.top_k = self.args.depth
        print(f"first stage          nDCG@10 {fmean(self.ndcg(self.run).values()):.4f}")
        reports: dict[str, list[RerankReport]] = {method: [] for method in methods}
        self.rerank(methods[0], self.queries[:1])
        for query in self.queries:
            for method in methods:
                reports[method].append(self.rerank(method, [query]))
        for method in methods:
            rankings = {
                query_id: ranking
                for report in reports[method]
                for query_id, ranking in report.run.rankings.items()
            }
            used = sum((report.usage for report in reports[method]), Usage())
            statuses = sum((Counter(report.statuses) for report in reports[method]), Counter())
            print(
                f"{method:20} nDCG@10 {fmean(self.ndcg(Run(method, rankings)).values()):.4f}, "
                f"{used.input_tokens} tokens read, {used.output_tokens} written, "
                f"{sum(report.seconds for report in reports[method]):.1f} s, {dict(statuses)}"
            )
        first, written = (sum(each.seconds for each in reports[method]) for method in methods)
        print(f"seconds of FIRST to those of generated permutations: {first / written:.2f}")

    def cached(self) -> None:
        """Print how query likelihood over encoded passages compares with reading them."""
        parallel = ParallelLLM(self.llm, ApeSettings())
        ways: dict[str, LLM] = {"read every time": self.llm, "encoded once": parallel}
        first = self.rerank("query-likelihood", self.queries, parallel)
        print(f"encoding and first run: {first.seconds:.1f} s")
        seconds = dict.fromkeys(ways, 0.0)
        rankings: dict[str, dict] = {name: {} for name in ways}
        for query in self.queries:
            for name, llm in ways.items():
                report = self.rerank("query-likelihood", [query], llm)
                seconds[name] += report.seconds
                rankings[name] |= report.run.rankings
        for name in ways:
            ndcg = fmean(self.ndcg(Run(name, rankings[name])).values())
            print(f"{name:16} nDCG@10 {ndcg:.4f}, {seconds[name]:.2f} s")
        read, encoded = seconds.values()
        print(f"seconds of passages encoded once to those read every time: {encoded / read:.3f}")


def shuffled(run: Run, depth: int) -> Run:
    """Return a run with the first documents of each ranking in random order."""
    rankings = {}
    for query_id, ranking in run.rankings.items():
        first = random.Random(query_id).sample(ranking[:depth], len(ranking[:depth]))
        scores = [each.score for each in ranking]
        ids = [each.id for each in (*first, *ranking[depth:])]
        rankings[query_id] = list(map(RankedDocument, ids, scores))
    return Run(f"shuffled {run.name}", rankings)


def main() -> None:
    """Read the arguments and run one of the two comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--llm", default="SmolLM2-135M-Instruct")
    parser.add_argument("--methods", default=",".join(METHODS[:-1]))
    parser.add_argument("--queries", type=int)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--passage-tokens", type=int, default=64)
    parser.add_argument("--shuffle", action="store_true")
    parser.add_argument("--ratio", action="store_true")
    parser.add_argument("--cached", action="store_true")
    args = parser.parse_args()
    comparison = Comparison(args)
    print(
        f"{comparison.dataset.name}: {len(comparison.queries)} queries, the first {args.depth} of "
        f"each, {args.passage_tokens} tokens a passage, {comparison.llm.name}"
    )
    if args.ratio:
        comparison.ratio()
    elif args.cached:
        comparison.cached()
    else:
        comparison.table()


if __name__ == "__main__":
    main()

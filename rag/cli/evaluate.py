"""`rag eval`: how well a retriever does on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.dataset import collection_of, dataset_argument, kept_option, split_option
from rag.cli.evaluate_answers import answers
from rag.cli.output import json_option, print_json, print_table, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.retrieval import embedder_option, make_retriever, retriever_option

if TYPE_CHECKING:
    from rag.evaluation import Comparison, RetrievalDataset, RetrievalReport, Run

METRICS = ("nDCG@10", "recall@10", "recall@100", "MRR@10")


@click.group("eval")
def evaluate() -> None:
    """Measure quality on data sets."""


evaluate.add_command(answers)


@evaluate.command()
@dataset_argument
@retriever_option
@kept_option
@embedder_option
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    default=METRICS,
    show_default=True,
    help="Also precision@K and MAP@K. Can be repeated.",
)
@split_option
@click.option("--per-query", is_flag=True, help="Show each query's values.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the run to a file of TREC's.")
@click.option("--compare", "baseline", type=click.Path(path_type=Path), help="A run to compare.")
@quiet_option
@json_option
def retrieval(
    folder: Path,
    retriever: str,
    kept: Path | None,
    embedder_name: str,
    metrics: tuple[str, ...],
    split: str,
    per_query: bool,
    save: Path | None,
    baseline: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search for the queries of FOLDER, in BEIR's layout, and score what is found.

    FOLDER holds corpus.jsonl, queries.jsonl and qrels.tsv. With --compare, each metric is tested
    against a run that --save wrote before: the difference, its 95 % confidence interval
    (bootstrap) and its p-value (paired randomisation test).
    """
    from rag.evaluation import Run, evaluate_retrieval, read_dataset

    dataset = read_dataset(folder, split)
    earlier = Run.read(baseline) if baseline else None
    with (
        progress_bars(quiet) as progress,
        collection_of(dataset, kept, embedder_name, progress) as collection,
    ):
        report = evaluate_retrieval(
            dataset, make_retriever(retriever, collection), metrics, progress=progress
        )
    if save:
        report.run.write(save)
    comparisons = _compare(dataset, report, earlier) if earlier else {}
    if as_json:
        print_json(
            {
                "dataset": report.dataset,
                "retriever": retriever,
                "queries": len(dataset.queries),
                "queries_per_second": report.queries_per_second,
                "means": report.means,
                "values": report.values,
                "comparisons": comparisons,
            }
        )
        return
    if per_query:
        print_table(
            ("query", *report.values),
            (
                (each.id, *(f"{values[each.id]:.4f}" for values in report.values.values()))
                for each in dataset.queries
            ),
        )
    _print_means(report, comparisons)


def _compare(
    dataset: RetrievalDataset, report: RetrievalReport, earlier: Run
) -> dict[str, Comparison]:
    from rag.evaluation import Metric, compare

    return {
        name: compare(values, earlier.evaluate(dataset.judgements, Metric.parse(name)))
        for name, values in report.values.items()
    }


def _print_means(report: RetrievalReport, comparisons: dict[str, Comparison]) -> None:
    if not comparisons:
        print_table(
            ("metric", "mean"), ((name, f"{mean:.4f}") for name, mean in report.means.items())
        )
    else:
        print_table(
            ("metric", "mean", "baseline", "difference", "95 % interval", "p", "wins", "losses"),
            (
                (
                    name,
                    f"{each.mean:.4f}",
                    f"{each.baseline_mean:.4f}",
                    f"{each.difference:+.4f}",
                    f"{each.low:+.4f} to {each.high:+.4f}",
                    f"{each.p_value:.4f}",
                    each.wins,
                    each.losses,
                )
                for name, each in comparisons.items()
            ),
        )
    count = len(report.run.rankings)
    click.echo(f"{report.dataset}: {count} queries, {report.queries_per_second:.0f} a second")

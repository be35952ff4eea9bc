"""`rag eval`: how well a retriever does on a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.contexts import contexts_folder, contexts_option, store_option
from rag.cli.dataset import collection_of, dataset_argument, kept_option, split_option
from rag.cli.evaluate_answers import answers
from rag.cli.output import json_option, print_json, print_table, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.prompts import prompts_option
from rag.cli.reranking import (
    account,
    budget_options,
    depth_option,
    end_in_part,
    existing_folder,
    make_reranker,
    print_account,
    ranking_llm,
    rerank_option,
    reranked_option,
    reranker_options,
)
from rag.cli.retrieval import embedder_option, llm_option, make_retriever, retriever_option

if TYPE_CHECKING:
    from rag.core.budgets import Budget
    from rag.evaluation import Comparison, RetrievalDataset, RetrievalReport, Run
    from rag.evaluation.datasets import Judgements

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
@rerank_option
@depth_option
@reranked_option
@llm_option
@reranker_options
@prompts_option
@contexts_option
@store_option
@budget_options
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
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=existing_folder,
    help="Write the run to a file of TREC's.",
)
@click.option("--compare", "baseline", type=click.Path(path_type=Path), help="A run to compare.")
@quiet_option
@json_option
def retrieval(
    folder: Path,
    retriever: str,
    kept: Path | None,
    embedder_name: str,
    method: str | None,
    depth: int,
    top_k: int | None,
    llm_name: str,
    options: dict[str, int],
    prompt_folder: Path | None,
    contexts: str,
    store: Path | None,
    budget: Budget,
    metrics: tuple[str, ...],
    split: str,
    per_query: bool,
    save: Path | None,
    baseline: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Search for the queries of FOLDER, in BEIR's layout, and score what is found.

    FOLDER holds corpus.jsonl, queries.jsonl and qrels.tsv. With --rerank, what is found is
    reranked, and scored against the order in which it was found. With --compare, each metric is
    tested against a run that --save wrote before. Tests show the difference, its 95 % confidence
    interval (bootstrap) and its p-value (paired randomisation test).
    """
    from rag.evaluation import Run, evaluate_retrieval, read_dataset, rerank_run
    from rag.pipelines.context_encoding import Encoding

    states = contexts_folder(contexts, store, kept)
    dataset = read_dataset(folder, split)
    earlier = Run.read(baseline) if baseline else None
    reranker, encoding = None, Encoding()
    if method:
        llm, encoding = ranking_llm(method, llm_name, contexts, states, prompt_folder)
        reranker = make_reranker(method, llm, prompt_folder, options)
    with (
        progress_bars(quiet) as progress,
        collection_of(dataset, kept, embedder_name, progress) as collection,
    ):
        found = evaluate_retrieval(
            dataset, make_retriever(retriever, collection), metrics, progress=progress
        )
        reranked = None
        if reranker:
            reranked = rerank_run(
                reranker,
                dataset.queries,
                found.run,
                dataset.documents(),
                depth=depth,
                top_k=top_k,
                budget=budget,
                progress=progress,
            )
    report = _rescored(dataset, found, reranked.run) if reranked else found
    if save:
        report.run.write(save)
    comparisons = {
        name: compare_runs(dataset.judgements, report.values, report.run, run)
        for name, run in ((retriever, reranked and found.run), ("baseline", earlier))
        if run
    }
    if as_json:
        print_json(
            {
                "dataset": report.dataset,
                "retriever": retriever,
                "queries": len(dataset.queries),
                "queries_per_second": report.queries_per_second,
                "means": report.means,
                "values": report.values,
                "comparisons": comparisons.get("baseline", {}),
                "reranking": {
                    **account(reranked, method, llm_name, encoding),
                    "retrieved": found.values,
                    "comparisons": comparisons[retriever],
                }
                if reranked and method
                else None,
            }
        )
    else:
        if per_query:
            _print_queries(dataset, report)
        _print_means(report, comparisons)
        if reranked:
            print_account(reranked, encoding)
    if reranked:
        end_in_part(reranked)


def _rescored(dataset: RetrievalDataset, found: RetrievalReport, run: Run) -> RetrievalReport:
    from rag.evaluation import Metric

    values = {name: run.evaluate(dataset.judgements, Metric.parse(name)) for name in found.values}
    return replace(found, run=run, values=values)


def compare_runs(
    judgements: Judgements, metrics: Iterable[str], run: Run, baseline: Run
) -> dict[str, Comparison]:
    """Compare two runs by each metric."""
    from rag.evaluation import Metric, compare

    return {
        name: compare(*(each.evaluate(judgements, Metric.parse(name)) for each in (run, baseline)))
        for name in metrics
    }


def print_comparisons(comparisons: Mapping[str, Comparison], baseline: str) -> None:
    """Print how a run compares with another, which the table calls `baseline`."""
    print_table(
        ("metric", "mean", baseline, "difference", "95 % interval", "p", "wins", "losses"),
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


def _print_queries(dataset: RetrievalDataset, report: RetrievalReport) -> None:
    print_table(
        ("query", *report.values),
        (
            (each.id, *(f"{values[each.id]:.4f}" for values in report.values.values()))
            for each in dataset.queries
        ),
    )


def _print_means(
    report: RetrievalReport, comparisons: Mapping[str, Mapping[str, Comparison]]
) -> None:
    for baseline, each in comparisons.items():
        print_comparisons(each, baseline)
    if not comparisons:
        print_table(
            ("metric", "mean"), ((name, f"{mean:.4f}") for name, mean in report.means.items())
        )
    count = len(report.run.rankings)
    click.echo(f"{report.dataset}: {count} queries, {report.queries_per_second:.0f} a second")

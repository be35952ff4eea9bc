"""`rag rerank`: a run in a better order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.contexts import contexts_folder, contexts_option, store_option
from rag.cli.dataset import dataset_argument, split_option
from rag.cli.evaluate import compare_runs, print_comparisons
from rag.cli.output import json_option, print_json, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.prompts import prompts_option
from rag.cli.reranking import (
    account,
    budget_options,
    depth_option,
    end_in_part,
    existing_folder,
    make_reranker,
    method_option,
    print_account,
    ranking_llm,
    reranked_option,
    reranker_options,
)
from rag.cli.retrieval import llm_option
from rag.core.errors import DataError

if TYPE_CHECKING:
    from rag.core.budgets import Budget
    from rag.evaluation import Query, RetrievalDataset, Run

METRICS = ("nDCG@10",)


@click.command()
@dataset_argument
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), callback=existing_folder)
@click.option(
    "--run",
    "first_stage",
    type=click.Path(path_type=Path),
    help="The run to rerank, in TREC's format; by default FOLDER's candidates.jsonl.",
)
@method_option
@llm_option
@depth_option
@reranked_option
@reranker_options
@prompts_option
@contexts_option
@store_option
@split_option
@click.option("--limit", type=click.IntRange(min=1), help="Rerank only the first so many queries.")
@budget_options
@quiet_option
@json_option
def rerank(
    folder: Path,
    out: Path,
    first_stage: Path | None,
    method: str,
    llm_name: str,
    depth: int,
    top_k: int | None,
    options: dict[str, int],
    prompt_folder: Path | None,
    contexts: str,
    store: Path | None,
    split: str,
    limit: int | None,
    budget: Budget,
    quiet: bool,
    as_json: bool,
) -> None:
    """Rerank what was retrieved for the queries of FOLDER, and write the new run to OUT.

    FOLDER is in BEIR's layout: corpus.jsonl and queries.jsonl. Where it has judgements too, the
    new order is scored against the old one. Documents below the depth follow as they came.
    """
    from rag.evaluation import Run, read_dataset, rerank_run

    states = contexts_folder(contexts, store, None)
    dataset = read_dataset(folder, split, judged=False)
    first = Run.read(first_stage) if first_stage else Run.of_candidates(dataset)
    queries = _queries(dataset, first)[:limit]
    llm, encoding = ranking_llm(method, llm_name, contexts, states, prompt_folder)
    reranker = make_reranker(method, llm, prompt_folder, options)
    with progress_bars(quiet) as progress:
        report = rerank_run(
            reranker,
            queries,
            first,
            dataset.documents(),
            depth=depth,
            top_k=top_k,
            budget=budget,
            progress=progress,
        )
    report.run.write(out)
    judged = {
        each.id: dataset.judgements[each.id] for each in queries if each.id in dataset.judgements
    }
    comparisons = compare_runs(judged, METRICS, report.run, first) if judged else {}
    if as_json:
        print_json(
            {
                "dataset": dataset.name,
                **account(report, method, llm_name, encoding),
                "comparisons": comparisons,
            }
        )
    else:
        if comparisons:
            print_comparisons(comparisons, "before")
        print_account(report, encoding)
    end_in_part(report)


def _queries(dataset: RetrievalDataset, run: Run) -> list[Query]:
    """Return the queries that the run has rankings for."""
    unknown = run.rankings.keys() - {query.id for query in dataset.queries}
    if unknown:
        reason = f"ranks documents for query {min(unknown)}, which is not in queries.jsonl"
        raise DataError(str(run.path), reason)
    return [query for query in dataset.queries if query.id in run.rankings]

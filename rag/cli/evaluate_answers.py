"""`rag eval answers`: how well a pipeline answers the questions of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.contexts import contexts_folder, contexts_option, load, store_option
from rag.cli.dataset import collection_of, dataset_argument, kept_option, split_option
from rag.cli.exit_codes import ExitCode
from rag.cli.output import json_option, print_json, print_table, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.prompts import prompts_option
from rag.cli.retrieval import (
    embedder_option,
    llm_option,
    make_retriever,
    retriever_option,
    top_k_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag.core.protocols import LLM, Retriever
    from rag.core.worked_examples import WorkedExample
    from rag.evaluation import AnswerReport, Query
    from rag.pipelines import Pipeline


@click.command()
@dataset_argument
@retriever_option
@top_k_option
@click.option(
    "--strategy",
    help="Answer in a few words with one strategy in place of reading --top-k passages, such as "
    "'DRAG k=5 m=2' or 'IterDRAG k=3 n=4'.",
)
@click.option(
    "--examples",
    "examples_file",
    type=click.Path(path_type=Path),
    help="Worked examples of `rag examples build`, for a --strategy with m.",
)
@kept_option
@embedder_option
@llm_option
@prompts_option
@contexts_option
@store_option
@split_option
@click.option("--limit", type=click.IntRange(min=1), help="Ask only the first so many questions.")
@click.option("--budget-tokens", type=click.IntRange(min=0), help="Input tokens of a question.")
@click.option("--per-query", is_flag=True, help="Show each question, its answer and its values.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="File in which the model's replies are kept; by default one in the cache directory.",
)
@click.option("--no-cache", is_flag=True, help="Have the model write every reply anew.")
@quiet_option
@json_option
def answers(
    folder: Path,
    retriever: str,
    top_k: int,
    strategy: str | None,
    examples_file: Path | None,
    kept: Path | None,
    embedder_name: str,
    llm_name: str,
    prompt_folder: Path | None,
    contexts: str,
    store: Path | None,
    split: str,
    limit: int | None,
    budget_tokens: int | None,
    per_query: bool,
    cache: Path | None,
    no_cache: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Answer the questions of FOLDER, in BEIR's layout, and score the answers.

    The questions in queries.jsonl need "answers". EM and F1 compare an answer with the accepted
    ones as SQuAD does; accuracy asks whether one of them stands in it. Replies are kept, so that a
    second run computes only what it asks differently.
    """
    from rag.core.budgets import Budget
    from rag.core.templates import load_template
    from rag.evaluation import evaluate_answers, read_dataset
    from rag.pipelines.context_encoding import with_contexts

    if examples_file and not strategy:
        raise click.UsageError("--examples are for a --strategy, such as 'DRAG k=5 m=2'")
    states = contexts_folder(contexts, store, kept)
    dataset = read_dataset(folder, split)
    queries = dataset.queries[:limit]
    # What a strategy's prompts lose in parallel was not calibrated: they are read in sequence.
    template = None if strategy else load_template("read", prompt_folder)
    shown = _examples(examples_file, queries)
    llm, encoding = with_contexts(load(llm_name), contexts, states, template)
    if not no_cache:
        llm = _keeping_replies(llm, cache)
    with (
        progress_bars(quiet) as progress,
        collection_of(dataset, kept, embedder_name, progress) as collection,
    ):
        found = make_retriever(retriever, collection)
        report = evaluate_answers(
            queries,
            _pipeline(strategy, top_k, found, llm, shown, prompt_folder),
            budget=Budget(tokens=budget_tokens),
            progress=progress,
        )
    if as_json:
        about = {
            "dataset": dataset.name,
            "llm": llm.name,
            "contexts": encoding,
            "means": report.means,
        }
        fields = ("values", "answers", "errors", "usage", "seconds")
        print_json(about | {name: getattr(report, name) for name in fields})
    else:
        if per_query:
            _print_queries(queries, report)
        _print_means(report)
        click.echo(f"contexts: {encoding}")
    if report.errors:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


def _examples(file: Path | None, queries: Sequence[Query]) -> list[WorkedExample]:
    from rag.core.worked_examples import read_examples
    from rag.evaluation.example_building import refuse_overlap

    shown = read_examples(file) if file else []
    refuse_overlap(shown, queries)
    return shown


def _pipeline(
    strategy: str | None,
    top_k: int,
    retriever: Retriever,
    llm: LLM,
    shown: Sequence[WorkedExample],
    prompts: Path | None,
) -> Pipeline:
    from rag.allocation import parse_grid
    from rag.pipelines import RetrieveAndRead, make_pipeline

    if strategy is None:
        return RetrieveAndRead(retriever, llm, top_k=top_k, prompts=prompts)
    cells = parse_grid(strategy)
    if len(cells) > 1:
        raise click.UsageError(f"--strategy '{strategy}' is {len(cells)} allocations; name one")
    return make_pipeline(*cells[0], retriever, llm, examples=shown, prompts=prompts)


def _keeping_replies(llm: LLM, cache: Path | None) -> LLM:
    from rag.models.cache import cache_dir
    from rag.models.cached_llm import CachedLLM

    return CachedLLM(llm, cache or cache_dir() / "replies.sqlite")


def _print_queries(queries: Sequence[Query], report: AnswerReport) -> None:
    print_table(
        ("question", "answer", *report.values),
        (
            (
                query.text,
                " ".join(report.answers[query.id].text.split())
                if query.id in report.answers
                else f"error: {report.errors[query.id]}",
                *(f"{values[query.id]:.2f}" for values in report.values.values()),
            )
            for query in queries
            if query.answers
        ),
    )


def _print_means(report: AnswerReport) -> None:
    print_table(("metric", "mean"), ((name, f"{mean:.4f}") for name, mean in report.means.items()))
    used = report.usage
    click.echo(
        f"{len(report.answers)} questions answered in {report.seconds:.1f} s: {used.input_tokens} "
        f"tokens read, {used.cached_tokens} of them from caches, {used.output_tokens} written; "
        f"{used.cache_hits} of {used.calls} calls had been made before"
    )
    for query_id, reason in report.errors.items():
        click.secho(f"no answer to {query_id}: {reason}", fg="red", err=True)

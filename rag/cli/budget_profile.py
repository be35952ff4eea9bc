"""`rag budget profile`: measures what allocations achieve and take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.budget_fit import metric_option
from rag.cli.contexts import load
from rag.cli.dataset import collection_of, dataset_argument, kept_option
from rag.cli.exit_codes import ExitCode
from rag.cli.output import json_option, print_json, print_table, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.prompts import prompts_option
from rag.cli.retrieval import embedder_option, llm_option, make_retriever, retriever_option

if TYPE_CHECKING:
    from rag.allocation.observations import Cell
    from rag.core.protocols import LLM, Retriever
    from rag.core.templates import Template
    from rag.core.worked_examples import WorkedExample
    from rag.evaluation.profile_estimate import ProfileEstimate
    from rag.evaluation.profiling import ProfileReport
    from rag.pipelines.strategies import Strategy

GRID = "DRAG k=0,1,2,5,10 m=0,1,2; IterDRAG k=1,2,5 m=0,2 n=1,2,4"
"""Measures enough for a plan with a model of a few thousand tokens' window."""


@click.command()
@dataset_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--grid",
    default=GRID,
    show_default=True,
    help="Strategies with numbers of documents (k), worked examples (m) and steps (n).",
)
@click.option(
    "--cells",
    "count",
    type=click.IntRange(min=1),
    help="Measure only so many cells of the grid: those that improve plans for --metric most, for "
    "their tokens. What it says beforehand is for the whole grid. Needs the extra 'analysis'.",
)
@metric_option
@click.option("--name", help="The data set's name in FILE; by default the folder's.")
@llm_option
@retriever_option
@embedder_option
@kept_option
@click.option(
    "--examples",
    "examples_file",
    type=click.Path(path_type=Path),
    help="Worked examples that `rag examples build` made.",
)
@prompts_option
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Questions to pass over first.")
@click.option("--limit", type=click.IntRange(min=1), help="Questions to measure at most.")
@click.option(
    "--budget-tokens", type=click.IntRange(min=1), help="Stop after so many input tokens."
)
@click.option("--budget-seconds", type=click.FloatRange(min=0), help="Stop after so many seconds.")
@click.option("--budget-cost", type=click.FloatRange(min=0), help="Stop after so much money.")
@click.option(
    "--replies",
    type=click.Path(path_type=Path),
    help="File in which the model's replies are kept; by default FILE with .replies added. What is "
    "asked again, by another cell or after an interruption, is read from it.",
)
@click.option("--estimate", "only_estimate", is_flag=True, help="Say what it would take, and stop.")
@quiet_option
@json_option
def profile(
    folder: Path,
    file: Path,
    grid: str,
    count: int | None,
    metric: str,
    name: str | None,
    llm_name: str,
    retriever: str,
    embedder_name: str,
    kept: Path | None,
    examples_file: Path | None,
    prompt_folder: Path | None,
    skip: int,
    limit: int | None,
    budget_tokens: int | None,
    budget_seconds: float | None,
    budget_cost: float | None,
    replies: Path | None,
    only_estimate: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Answer the questions of FOLDER at every allocation of a grid, and keep what it gave in FILE.

    FOLDER is in BEIR's layout; its questions need "answers". Before it starts it says what it will
    take. Several data sets go into one FILE, if model, retriever and prompts are the same.

    A profile that is interrupted goes on where it was: at most 32 questions are asked again, and
    the replies to those come from --replies. Replies from there count as tokens read, but not as
    computed, and take no time: what a profile computed depends on what was computed before it.
    """
    from rag.allocation.grid import parse_grid
    from rag.allocation.store import ObservationStore
    from rag.core.budgets import Budget
    from rag.core.errors import InputError
    from rag.core.worked_examples import read_examples
    from rag.evaluation import read_dataset
    from rag.evaluation.active_profiling import profile_actively
    from rag.evaluation.example_building import refuse_overlap
    from rag.evaluation.profile_estimate import estimate_profile
    from rag.evaluation.profiling import profile as profile_all
    from rag.models.cached_llm import CachedLLM
    from rag.models.calibration import kept_cost_model
    from rag.pipelines.strategies import why_not
    from rag.retrievers import RememberedRetriever

    cells = parse_grid(grid)
    dataset = read_dataset(folder, judged=False)
    queries = dataset.queries[skip : None if limit is None else skip + limit]
    shown = read_examples(examples_file) if examples_file else []
    refuse_overlap(shown, queries)
    for cell in cells:
        if problem := why_not(*cell, shown):
            raise InputError(f"the grid has {_words(cell)}, but {problem}")
    llm = load(llm_name)
    if budget_cost is not None and llm.prices is None:
        raise InputError(f"{llm.name} has no prices, so --budget-cost would never be reached")
    name = name or folder.resolve().name
    with (
        progress_bars(quiet) as progress,
        collection_of(dataset, kept, embedder_name, progress) as collection,
    ):
        found = RememberedRetriever(make_retriever(retriever, collection))
        with_model = _pipelines(found, shown, prompt_folder)
        setup = {
            "llm": llm.name,
            "revision": llm.revision,
            "retriever": retriever,
            "embedder": embedder_name,
        }
        templates = {each for cell in cells for each in with_model(cell, llm).templates}
        setup |= {f"prompt {each.name}": _wording(each) for each in templates}
        shows_examples = any(allocation.examples for _, allocation in cells)
        setup |= _contents(folder, name, examples_file if shows_examples else None)
        store = None if only_estimate else ObservationStore(file, setup)
        expected = estimate_profile(
            queries, with_model, cells, llm, cost_model=kept_cost_model(llm), progress=progress
        )
        if not as_json:
            _print_estimate(expected)
        if store is None:
            if as_json:
                print_json({"estimate": expected})
            return
        keeping = CachedLLM(llm, replies or file.with_name(file.name + ".replies"))
        measure: Callable[..., ProfileReport] = (
            partial(profile_actively, metric=metric, cells=count) if count else profile_all
        )
        report = measure(
            name,
            queries,
            lambda cell: with_model(cell, keeping),
            cells,
            store,
            budget=Budget(tokens=budget_tokens, seconds=budget_seconds, cost=budget_cost),
            progress=progress,
        )
    failed = {_words(cell): reason for cell, reason in report.failed.items()}
    if as_json:
        fields = ("measured", "known", "stopped", "usage")
        values = {name: getattr(report, name) for name in fields}
        print_json({"estimate": expected} | values | {"failed": failed})
    else:
        _print_report(report, failed)
    if report.failed or report.stopped:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


def _words(cell: Cell) -> str:
    strategy, allocation = cell
    return f"{strategy} {allocation}"


def _pipelines(
    retriever: Retriever, shown: Sequence[WorkedExample], prompts: Path | None
) -> Callable[[Cell, LLM], Strategy]:
    from rag.pipelines.strategies import make_pipeline

    return lambda cell, llm: make_pipeline(*cell, retriever, llm, examples=shown, prompts=prompts)


def _wording(template: Template) -> str:
    """Return a hash of what a template makes of a prompt."""
    wording = asdict(template) | {"path": "", "description": ""}
    return hashlib.sha256(json.dumps(wording).encode()).hexdigest()[:16]


def _contents(folder: Path, name: str, examples: Path | None) -> dict[str, str]:
    """Return hashes of the files of a data set, by what they are."""
    files = {
        f"corpus of {name}": folder / "corpus.jsonl",
        f"questions of {name}": folder / "queries.jsonl",
    }
    if examples:
        files[f"examples of {name}"] = examples
    hashes = {}
    for what, path in files.items():
        with path.open("rb") as file:
            hashes[what] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return hashes


def _print_estimate(expected: ProfileEstimate) -> None:
    line = (
        f"about {expected.input_tokens:,} tokens to read, and at most "
        f"{expected.output_tokens:,} to write in {expected.calls:,} calls"
    )
    if expected.seconds is not None:
        line += f", {expected.seconds:,.0f} s"
    if expected.cost is not None:
        line += f", {expected.cost:,.2f} of money"
    click.echo(f"{line}; beginnings that prompts share are computed once")


def _print_report(report: ProfileReport, failed: Mapping[str, str]) -> None:
    used = report.usage
    click.echo(
        f"{report.measured} questions measured, {report.known} were already; {used.input_tokens:,} "
        f"tokens read, {used.computed_tokens:,} of them computed, {used.output_tokens:,} written"
    )
    if failed:
        print_table(("not measured", "why"), failed.items())
    if report.stopped:
        click.secho(f"stopped: {report.stopped}; the same command goes on", fg="yellow", err=True)

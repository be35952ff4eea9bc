"""`rag examples`: worked examples out of training questions."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli.contexts import load
from rag.cli.dataset import collection_of, dataset_argument, kept_option
from rag.cli.exit_codes import ExitCode
from rag.cli.output import json_option, print_json, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.prompts import prompts_option
from rag.cli.retrieval import embedder_option, llm_option, make_retriever, retriever_option


@click.group()
def examples() -> None:
    """Make worked examples, which prompts show before the question."""


@examples.command()
@dataset_argument
@click.argument("file", type=click.Path(path_type=Path))
@llm_option
@retriever_option
@embedder_option
@kept_option
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Questions to pass over first.")
@click.option("--limit", type=click.IntRange(min=1), help="Questions to use at most.")
@click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Passages a search."
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Sub-questions at most.",
)
@click.option(
    "--documents",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Passages to keep with each example, the most that any allocation will show.",
)
@prompts_option
@quiet_option
@json_option
def build(
    folder: Path,
    file: Path,
    llm_name: str,
    retriever: str,
    embedder_name: str,
    kept: Path | None,
    skip: int,
    limit: int | None,
    top_k: int,
    steps: int,
    documents: int,
    prompt_folder: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Answer training questions of FOLDER step by step, and write what is right to FILE.

    FOLDER is in BEIR's layout; its questions need "answers". Use questions that nothing is measured
    on: measuring on them is refused later. Questions that the model did not get right stay as
    examples without steps, for strategies that ask no sub-questions.
    """
    from rag.core.allocations import Allocation
    from rag.core.errors import InputError
    from rag.core.worked_examples import write_examples
    from rag.evaluation import read_dataset
    from rag.evaluation.example_building import build_examples
    from rag.pipelines import IterDRAG

    if not file.parent.is_dir():
        raise InputError(f"there is no folder {file.parent} to write {file.name} to")
    dataset = read_dataset(folder, judged=False)
    queries = dataset.queries[skip : None if limit is None else skip + limit]
    llm = load(llm_name)
    with (
        progress_bars(quiet) as progress,
        collection_of(dataset, kept, embedder_name, progress) as collection,
    ):
        found = make_retriever(retriever, collection)
        built = build_examples(
            queries,
            lambda shown: IterDRAG(
                found,
                llm,
                allocation=Allocation(top_k, len(shown), steps),
                examples=shown,
                prompts=prompt_folder,
            ),
            documents=documents,
            progress=progress,
        )
    write_examples(file, built.examples)
    count, solved = len(built.examples), sum(bool(each.steps) for each in built.examples)
    if as_json:
        print_json({"file": file, "examples": count, "with_steps": solved, "failed": built.failed})
    else:
        click.echo(f"{file}: {count} examples, {solved} of them with steps")
        for query_id, reason in built.failed.items():
            click.secho(f"no steps for {query_id}: {reason}", fg="red", err=True)
    if built.failed:
        raise click.exceptions.Exit(ExitCode.PARTIAL)

"""`rag cache calibrate`: what parallel encoding costs a model in quality."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from rag.cli.contexts import load, store_option
from rag.cli.output import json_option, print_json, print_table, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.prompts import prompts_option
from rag.cli.retrieval import collection_argument, llm_option
from rag.core.templates import load_template

if TYPE_CHECKING:
    from rag.context.calibration import Calibration

int8_option = click.option(
    "--int8",
    is_flag=True,
    help="Round what is encoded to int8, which takes half the room of bfloat16. To be used, it has "
    "to be calibrated and built so.",
)


@click.command()
@collection_argument
@llm_option
@prompts_option
@click.option(
    "--minimum-share",
    type=click.FloatRange(min=0, min_open=True),
    default=0.95,
    show_default=True,
    help="What has to be left of how likely right answers are in sequence, for each kind of "
    "question.",
)
@int8_option
@store_option
@quiet_option
@json_option
def calibrate(
    collection: Path,
    llm_name: str,
    prompt_folder: Path | None,
    minimum_share: float,
    int8: bool,
    store: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find the settings of parallel encoding that suit a model, and measure what they cost.

    The model reads questions with known answers, which come with the toolkit, in sequence and in
    parallel. If right answers stay likely enough, commands with --contexts read passages of
    COLLECTION in parallel from then on, at these settings.
    """
    from rag.context import ContextStore
    from rag.context.calibration_examples import load_examples
    from rag.context.tuning import calibrate as measure
    from rag.indexes import Collection
    from rag.pipelines.context_encoding import of_this_process
    from rag.pipelines.encoded_passages import FOLDER

    with Collection.open(collection):  # a mistyped path is to be none from now on
        examples = load_examples(load_template("read", prompt_folder))
    llm = of_this_process(load(llm_name))
    kept = ContextStore(store or collection / FOLDER, llm.name, llm.revision)
    with (
        kept.writing(),
        TemporaryDirectory(prefix="rag-calibrate-") as scratch,
        progress_bars(quiet) as progress,
    ):
        # On disk, since the states of all questions may be more than memory holds.
        found = measure(
            llm,
            store=ContextStore(Path(scratch), llm.name, llm.revision, int8=int8),
            examples=examples,
            minimum_share=minimum_share,
            progress=progress,
        )
        kept.record(found.as_json())
    if as_json:
        about = {"allowed": found.allowed, "explanation": found.explain(), "path": kept.path}
        print_json(about | {"calibration": kept.calibration})
    else:
        _print(found)


def _print(found: Calibration) -> None:
    from rag.pipelines.context_encoding import worded

    kinds = list(found.plain.shares)
    print_table(
        ("contexts", *kinds),
        (
            (worded(each.settings), *(str(each.shares[kind]) for kind in kinds))
            for each in (found.plain, found.tuned, *found.hybrid)
        ),
    )
    click.echo(f"\n{found.explain()}")
    if found.allowed is None:
        click.echo("Contexts are read in sequence.")

"""`rag cache build`: every passage of a collection, encoded."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.cache_calibrate import int8_option
from rag.cli.contexts import load, store_option
from rag.cli.encoding import Build, BuildEstimate, Built, megabytes
from rag.cli.exit_codes import ExitCode
from rag.cli.output import json_option, print_json, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.prompts import prompts_option
from rag.cli.retrieval import collection_argument, llm_option
from rag.core.errors import DataError
from rag.core.templates import load_template

if TYPE_CHECKING:
    from rag.context import ContextStore


@click.command()
@collection_argument
@llm_option
@prompts_option
@int8_option
@store_option
@click.option("--dry-run", is_flag=True, help="Count and estimate; write nothing.")
@quiet_option
@json_option
def build(
    collection: Path,
    llm_name: str,
    prompt_folder: Path | None,
    int8: bool,
    store: Path | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Encode every passage of COLLECTION as `rag ask` shows it to a model.

    What is encoded already is passed over, and what is encoded of passages that are gone or have
    changed is dropped. The same command goes on after Ctrl-C.
    """
    from rag.context import ContextStore
    from rag.indexes import Collection
    from rag.pipelines.context_encoding import of_this_process
    from rag.pipelines.encoded_passages import FOLDER, why_varying

    template = load_template("read", prompt_folder)
    if reason := why_varying(template):
        raise DataError(str(template.path), f"passages cannot be kept encoded: {reason}")
    with Collection.open(collection) as opened:
        llm = of_this_process(load(llm_name))
        states = ContextStore(store or collection / FOLDER, llm.name, llm.revision, int8=int8)
        job = Build(opened, template, llm, states)
        with progress_bars(quiet) as progress:
            estimate = job.estimate(progress)
        if not as_json:
            _print_estimate(estimate)
        elif dry_run:
            print_json({"estimate": estimate})
        if dry_run:
            return
        began = time.perf_counter()
        try:
            with progress_bars(quiet) as progress:
                built = job.run(estimate, progress)
        except KeyboardInterrupt:
            click.echo("stopped; what was encoded stays, the same command goes on", err=True)
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
        _report(estimate, built, states, time.perf_counter() - began, as_json)


def _print_estimate(estimate: BuildEstimate) -> None:
    click.echo(
        f"{estimate.passages:,} passages to encode, {estimate.there:,} are there: "
        f"{estimate.tokens:,} tokens, about {megabytes(estimate.bytes)} on disk, "
        f"{megabytes(estimate.free_bytes)} free"
    )


def _report(
    estimate: BuildEstimate, built: Built, store: ContextStore, seconds: float, as_json: bool
) -> None:
    """Say what was done; end with code 7 if a passage could not be encoded."""
    info = store.info()
    speed = built.tokens / seconds
    if as_json:
        about = {"estimate": estimate, **asdict(built), "path": store.path, "bytes": info.bytes}
        print_json(about | {"seconds": seconds, "tokens_per_second": speed})
    else:
        click.echo(
            f"{built.encoded:,} encoded, {estimate.there:,} were there, {built.dropped:,} dropped; "
            f"{seconds:.1f} s, {speed:,.0f} tokens a second; "
            f"{megabytes(info.bytes)} in {store.path}"
        )
    if unused := _why_unused(store):
        click.secho(f"note: {unused}", fg="yellow", err=True)
    for passage_id in built.too_long:
        click.secho(f"{passage_id} is longer than the model's window", fg="red", err=True)
    if built.too_long:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


def _why_unused(store: ContextStore) -> str:
    """Return why other commands do not read what was built by default; '' if they do."""
    if store.calibration is None:
        return "it is used once `rag cache calibrate` allows it"
    if bool(store.calibration.get("int8")) != store.int8:
        kind = "is not in int8" if store.int8 else "is in int8"
        return f"it is not used, since what was calibrated {kind}"
    return ""

"""`rag budget fit` and `plan`: a compute-allocation model, and what it says to use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.contexts import load
from rag.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from rag.allocation.observations import Observation
    from rag.allocation.planning import Plan

files_argument = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
metric_option = click.option(
    "--metric",
    type=click.Choice(("EM", "F1", "accuracy")),
    default="F1",
    show_default=True,
    help="What answers are to be good at.",
)


def read_files(files: Sequence[Path]) -> Iterator[Observation]:
    """Yield the observations of profiles: files of `rag budget profile`, or JSON Lines of them.

    Raises:
        InputError: Profiles are of different models, prompts or retrievers.
    """
    from rag.allocation.observations import read_observations
    from rag.allocation.store import ObservationStore
    from rag.core.errors import InputError

    setup: dict[str, str] = {}
    for file in files:
        if _has_lines(file):
            yield from read_observations(file)
            continue
        store = ObservationStore(file)
        for name, value in store.setup.items():
            if setup.setdefault(name, value) != value:
                raise InputError(
                    f"{file} holds observations with {name} {value!r}, those before it with "
                    f"{setup[name]!r}; give each alone"
                )
        yield from store


def _has_lines(file: Path) -> bool:
    return file.name.endswith((".jsonl", ".jsonl.gz"))


def _refuse_overwriting(files: Sequence[Path], output: Path) -> None:
    if output.resolve() in {file.resolve() for file in files}:
        raise click.UsageError(f"--output {output} is one of the files to read")


@click.command()
@files_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write the model to.",
)
@metric_option
@click.option(
    "--quantile",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Share of the questions that a budget of tokens has to suffice for.",
)
@json_option
def fit(files: tuple[Path, ...], output: Path, metric: str, quantile: float, as_json: bool) -> None:
    """Fit a compute-allocation model to the profiles in FILES.

    FILES are those of `rag budget profile`, or JSON Lines (.jsonl, .jsonl.gz) that `rag budget
    export` wrote; all of one language model.
    """
    from rag.allocation.fitted import FittedAllocation

    _refuse_overwriting(files, output)
    fitted = FittedAllocation.fit(read_files(files), metric, quantile=quantile)
    fitted.save(output)
    model = fitted.model
    about = {
        "file": output,
        "metric": metric,
        "datasets": list(model.datasets),
        "measured_cells": len(model.scores),
        "cell_r2": model.cell_r2,
        "transfer_r2": model.transfer_r2,
        "why_not": model.why_not,
    }
    if as_json:
        print_json(about)
        return
    click.echo(
        f"{output}: {metric} of {len(model.scores)} cells of {', '.join(model.datasets)}; cells "
        f"that are left out are predicted with R2 {model.cell_r2:.2f}"
    )
    if model.transfer_r2 is not None:
        click.echo(f"a data set that is left out but for its anchors: R2 {model.transfer_r2:.2f}")
    if model.why_not:
        click.secho(f"plans go by what was measured: {model.why_not}", fg="yellow", err=True)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--tokens", type=click.IntRange(min=0), help="Input tokens of a question at most.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    help="Seconds of a question; needs --llm and `rag models calibrate`.",
)
@click.option(
    "--usd",
    "cost",
    type=click.FloatRange(min=0),
    help="Money for a question, in the currency of --price-input and --price-output.",
)
@click.option("--llm", "llm_name", help="The model, whose calibration says how long calls take.")
@click.option("--price-input", type=click.FloatRange(min=0), help="Price of a million tokens read.")
@click.option(
    "--price-output", type=click.FloatRange(min=0), help="Price of a million tokens written."
)
@click.option("--dataset", help="Measured data set that questions are like; any of them without.")
@json_option
def plan(
    model: Path,
    tokens: int | None,
    seconds: float | None,
    cost: float | None,
    llm_name: str | None,
    price_input: float | None,
    price_output: float | None,
    dataset: str | None,
    as_json: bool,
) -> None:
    """Say what a budget is best spent on, by MODEL that `rag budget fit` wrote.

    Prints the strategy with its documents, worked examples and steps, what it is expected to score
    and to take, and what twice the budget would buy.
    """
    from rag.allocation.fitted import FittedAllocation
    from rag.core.budgets import Budget
    from rag.core.usage import Prices
    from rag.models.calibration import kept_cost_model

    if tokens is None and seconds is None and cost is None:
        raise click.UsageError("give a budget: --tokens, --seconds or --usd")
    if seconds is not None and llm_name is None:
        raise click.UsageError("--seconds needs --llm: whose calls are to be timed?")
    if price_input is None and (cost is not None or price_output is not None):
        raise click.UsageError(
            "--usd needs --price-input, and --price-output where writing costs, too"
        )
    fitted = FittedAllocation.load(model)
    found = fitted.plan(
        Budget(tokens=tokens, seconds=seconds, cost=cost),
        dataset=dataset,
        call_times=kept_cost_model(load(llm_name)) if llm_name else None,
        prices=None if price_input is None else Prices(price_input, price_output or 0.0),
    )
    if as_json:
        print_json(found.as_json())
    else:
        _print_plan(found, fitted.model.metric)


def _print_plan(found: Plan, metric: str) -> None:
    columns = ("", "strategy", "documents", "examples", "steps", metric, "95 %", "tokens", "most")
    rows = [("now", found)]
    if found.next_doubling:
        rows.append(("twice the budget", found.next_doubling))
    print_table(columns, (_row(name, each) for name, each in rows))
    if not found.next_doubling:
        click.echo("twice the budget would buy nothing better")
    if found.seconds is not None:
        click.echo(f"about {found.seconds:.2g} s of calls, one after the other")
    if found.cost is not None:
        click.echo(f"about {found.cost:.2g} of money for a question")
    click.echo(f"by: {found.basis}")


def _row(name: str, each: Plan) -> tuple[str, ...]:
    score, uses = each.prediction, each.allocation
    return (
        name,
        each.strategy,
        str(uses.documents),
        str(uses.examples),
        str(uses.steps),
        f"{score.mean:.3f}",
        f"{score.low:.3f} to {score.high:.3f}",
        f"{each.needs.tokens:,.0f}",
        f"{each.needs.largest:,.0f}",
    )


@click.command()
@files_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .jsonl, or .jsonl.gz to compress it.",
)
def export(files: tuple[Path, ...], output: Path) -> None:
    """Write the observations of profiles as JSON Lines."""
    from rag.allocation.observations import write_observations

    _refuse_overwriting(files, output)
    if not _has_lines(output):
        raise click.UsageError(f"name --output .jsonl or .jsonl.gz, not {output.name}")
    rows = list(read_files(files))
    write_observations(output, rows)
    click.echo(f"{output}: {len(rows)} observations")

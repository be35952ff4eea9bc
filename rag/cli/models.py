"""`rag models`: the models at hand, and how fast they are here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.output import console, json_option, print_json, print_table, quiet_option
from rag.cli.progress import progress_bars, working
from rag.models.registry import DEFAULT_LLM

if TYPE_CHECKING:
    from rag.models.calibration import Calibration

_BAR = 0.2
"""Median error above which a calibration is not worth much."""


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models at hand (as `rag models list` does), or measure how fast one is."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models, as_json=as_json)
    elif as_json:
        raise click.UsageError("--json belongs after the name of the command")


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the models that installable packages carry, and whether they are installed.

    Commands also take the path of a model, and names of the Hugging Face hub.
    """
    from rag.models.registry import available_models

    found = available_models()
    if as_json:
        print_json({"models": found})
    else:
        print_table(
            ("name", "kind", "package", ""),
            (
                (
                    each.name,
                    each.kind,
                    each.package,
                    "installed" if each.installed else each.install,
                )
                for each in found
            ),
        )


@models.command("calibrate")
@click.argument("llm_name", metavar="[LLM]", default=DEFAULT_LLM)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="How long to time calls.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw measured and predicted times: FILE.png, FILE.svg, …",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save the result here, and not where `rag ask` looks for it.",
)
@json_option
@quiet_option
def calibrate(
    llm_name: str, seconds: float, plot: Path | None, save: Path | None, as_json: bool, quiet: bool
) -> None:
    """Measure how long calls of a model take here, by the tokens they read and write.

    `rag ask --budget-seconds` then has the model read no more than is answered in time. Calls are
    made one at a time; what else runs on the machine meanwhile is measured too.

    LLM is a name of `rag models`, a path, a name of the hub, or MODEL@URL of a server; without it,
    it is the model that `rag ask` uses by default.
    """
    from rag.models.calibration import calibrate, cost_model_path
    from rag.models.calibration_plot import plot_calibration
    from rag.models.registry import load_llm

    with working(f"loading {llm_name}; its first use takes longer"):
        llm = load_llm(llm_name)
    with progress_bars(quiet) as progress:
        calibration = calibrate(llm, seconds=seconds, progress=progress)
    path = save or cost_model_path(llm)
    calibration.model.save(path)
    if plot:
        plot_calibration(calibration, plot)
    if as_json:
        print_json({"path": path, "plot": plot, "model": calibration.model})
    else:
        _print_calibration(calibration)
        click.echo(f"saved as {path}")


def _print_calibration(calibration: Calibration) -> None:
    model, origin = calibration.model, calibration.model.origin
    print_table(
        ("", "ms"),
        (
            (what, f"{1000 * seconds:.4g}")
            for what, seconds in (
                ("any call", model.overhead),
                ("1000 prompt tokens", 1000 * model.computed),
                ("  and for each 1000 tokens before them", 1e6 * model.attention),
                ("1000 cached prompt tokens", 1000 * model.cached),
                ("an output token after the first", model.output),
                ("  and for each 1000 tokens before it", 1000 * model.output_attention),
            )
        ),
    )
    if origin is None:
        return
    out = console()
    out.print(
        f"\n{origin.model} on {origin.machine}: fitted to {origin.calls} calls; on "
        f"{origin.held_out_calls} others the median error is {origin.median_error:.1%}, "
        f"the 90th percentile {origin.p90_error:.1%}"
    )
    if origin.median_error > _BAR:
        out.print(
            "note: times varied too much; calibrate again when the machine does nothing else",
            style="yellow",
        )

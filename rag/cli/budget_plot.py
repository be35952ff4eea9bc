"""`rag budget plot`: pictures of a profile and of the model that was fitted to it."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli.budget_fit import files_argument, metric_option, read_files


@click.command()
@files_argument
@click.option(
    "--output",
    "-o",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the pictures, made if it is not there.",
)
@metric_option
def plot(files: tuple[Path, ...], folder: Path, metric: str) -> None:
    """Draw the profiles in FILES: scaling curves, predictions, plans; each as PNG and SVG.

    Scaling curves show the metric of every measured allocation against its effective context
    length, with the frontier of the best; predictions those of a fitted model against what was
    measured; plans what that model chooses for each budget.
    """
    from rag.allocation.cells import CellTable
    from rag.allocation.fitted import FittedAllocation
    from rag.allocation.plots import plot_plans, plot_predictions, plot_scaling
    from rag.allocation.regret import log_budgets
    from rag.core.budgets import Budget
    from rag.core.errors import BudgetTooSmall, InputError

    observations = list(read_files(files))
    table = CellTable.gather(observations, metric)
    fitted = FittedAllocation.fit(observations, metric)
    plans = []
    for budget in log_budgets(table, 24):
        try:
            plans.append((budget, fitted.plan(Budget(tokens=budget))))
        except BudgetTooSmall:  # less than the cheapest allocation takes on some data set
            continue
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error}; name another folder") from error
    for ending in ("png", "svg"):
        plot_scaling(table, folder / f"scaling.{ending}")
        plot_predictions(table, fitted.model, folder / f"predictions.{ending}")
        plot_plans(plans, folder / f"plans.{ending}")
    click.echo(f"{folder}: scaling, predictions and plans, as PNG and SVG")

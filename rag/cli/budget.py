"""`rag budget`: measures, fits and plans what a budget is spent on."""

from __future__ import annotations

import click

from rag.cli.budget_fit import export, fit, plan
from rag.cli.budget_plot import plot
from rag.cli.budget_profile import profile


@click.group()
def budget() -> None:
    """Find out what to spend a budget on: documents, worked examples or sub-questions."""


for command in (profile, fit, plan, plot, export):
    budget.add_command(command)

"""`rag doctor`: what is installed, what is missing, and what to do about it."""

from __future__ import annotations

import click

from rag.cli.exit_codes import ExitCode
from rag.cli.output import json_option, print_json, print_table


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check the installation: what is there, what is missing, what to do about it.

    Ends with exit code 1 if a check found an error.
    """
    from rag.cli.checks import CHECKS

    checks = [finding for check in CHECKS for finding in check()]
    if as_json:
        print_json({"checks": checks})
    else:
        print_table(
            ("check", "", "found", "next step"),
            ((c.name, c.severity, c.message, c.next_step) for c in checks),
        )
    if any(check.severity == "error" for check in checks):
        raise click.exceptions.Exit(ExitCode.UNEXPECTED)

"""How a command ends: one line that says what went wrong, and an exit code by kind of error."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import click

from rag.core.errors import (
    BatchError,
    BudgetExhausted,
    BudgetTooSmall,
    Cancelled,
    CollectionError,
    EngineFailed,
    FetchFailed,
    FlowRefused,
    InputError,
    LoadError,
    MissingExtra,
    ModelError,
    RagError,
    SearchFailed,
)


class ExitCode(IntEnum):
    """What an exit code says."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    INPUT = 3
    MODEL = 4
    COLLECTION = 5
    BUDGET = 6
    PARTIAL = 7
    WEB = 8
    INTERRUPTED = 130


EXIT_CODES = """\b
Exit codes:
  0    done
  1    a check failed, or something unexpected happened
  2    the command line is wrong
  3    an input cannot be used: a file, a filter, a value
  4    a model cannot be used, or an extra is not installed
  5    a collection cannot be used or searched
  6    the budget does not suffice
  7    done in part: some files or items failed, and are named
  8    the web cannot be searched, or a page of it not be fetched
  130  stopped by Ctrl-C; what was committed stays
"""

_BY_ERROR: tuple[tuple[type[RagError], ExitCode], ...] = (
    (BudgetTooSmall, ExitCode.BUDGET),
    (InputError, ExitCode.INPUT),
    (LoadError, ExitCode.INPUT),
    (ModelError, ExitCode.MODEL),
    (MissingExtra, ExitCode.MODEL),
    (CollectionError, ExitCode.COLLECTION),
    (EngineFailed, ExitCode.WEB),
    (FetchFailed, ExitCode.WEB),
    (FlowRefused, ExitCode.WEB),
    (SearchFailed, ExitCode.COLLECTION),
    (BudgetExhausted, ExitCode.BUDGET),
    (BatchError, ExitCode.PARTIAL),
    (Cancelled, ExitCode.INTERRUPTED),
)


def exit_code(error: Exception) -> ExitCode:
    """Return the exit code of an error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNEXPECTED)


class ReportingGroup(click.Group):
    """A group whose commands end with one line and a code, not a traceback; see `--debug`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            click.secho(f"error: {_one_line(error)}", fg="red", err=True)
            raise click.exceptions.Exit(exit_code(error)) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, RagError):
        return text
    return f"unexpected {type(error).__name__}: {text}; `rag --debug …` says where"

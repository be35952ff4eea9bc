"""Progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rag.core.progress import Progress, silent


@contextmanager
def progress_bars(quiet: bool = False) -> Iterator[Progress]:
    """Draw a bar for each stage that reports; none where standard error is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Display

    with Display(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        tasks = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = display.add_task(stage, total=total)
            display.update(tasks[stage], completed=done, total=total)

        yield report


@contextmanager
def working(on: str) -> Iterator[None]:
    """Show that something is under way whose length is not known."""
    if not sys.stderr.isatty():
        yield
        return

    from rich.console import Console

    with Console(stderr=True).status(on):
        yield

"""How long work reports where it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work proceeds; the command line draws bars from it."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report that `done` of `total` units of a stage are finished.

        Args:
            stage: Name of the stage, such as 'embedding'.
            done: Units finished so far.
            total: Units in all; None while unknown.
        """


def silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""

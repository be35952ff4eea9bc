"""What happens while a program runs, as it happens; and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from rag.core.sensitivity import PUBLIC, Sensitivity
from rag.core.usage import Usage

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Started:
    """An operation begins.

    Args:
        op: The operation, such as a `Search` or a `Generate`.
    """

    op: Any


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A model wrote a piece of its reply.

    Args:
        op: The `Generate` it belongs to.
        text: The piece.
    """

    op: Any
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """An operation ended.

    Args:
        op: The operation.
        result: What it returned, or the error it met.
        usage: What it used.
    """

    op: Any
    result: Any
    usage: Usage


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T_co]):
    """How a program ended: with a value or with an error, and what it used either way.

    Args:
        value: What it returned; None if it failed.
        error: What it raised; None if it returned.
        usage: What it used.
        stages: The same by stage, in order of first use.
        trace: Its operations in the order in which they ended, if the engine was asked for them.
        notes: What the program, and programs inside it, stated with `Note`.
        sensitivity: The tags of all that it had read when it ended, so that the value, or the
            error, may tell of it.
    """

    value: T_co | None
    error: Exception | None
    usage: Usage
    stages: Mapping[str, Usage]
    trace: tuple[Finished, ...] = ()
    notes: tuple[str, ...] = ()
    sensitivity: Sensitivity = PUBLIC

    def unwrap(self) -> T_co:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value] # None is a value that a program may return


Event: TypeAlias = Started | TextDelta | Finished | Outcome[Any]
"""What `Engine.stream` yields; the `Outcome` comes last."""

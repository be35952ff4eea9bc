"""What the scheduler keeps account of: questions, the coroutines they run, the calls those make."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from rag.core.backends import Backends
from rag.core.budgets import Meter, Reservation
from rag.core.events import Finished, Outcome
from rag.core.operations import LeafOp
from rag.core.sensitivity import PUBLIC, Sensitivity


@dataclass(slots=True, eq=False)
class Question:
    """A program as its caller sees it: one meter, one outcome.

    Args:
        meter: What it may use and has used.
        number: Its place in the order of questions.
        backends: What its operations run on unless they name a backend of their own.
        traced: Whether its operations are kept for the outcome.
        streamed: Whether the pieces of its replies are wanted as they are written.
        notes: What fell short, in order, as the keys.
    """

    meter: Meter
    number: int
    backends: Backends = Backends()
    traced: bool = False
    streamed: bool = False
    outcome: Outcome[Any] | None = None
    trace: list[Finished] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Task:
    """One coroutine of a question: its program, or a member of a `together` in it.

    Args:
        coroutine: What is run.
        question: Whose it is.
        meter: What its calls land on.
        path: Its place in the question's tree of tasks, whatever the order of events.
        gather: Who waits for it; None for the question's own program.
        spawned: How often it has started members.
        sensitivity: The tags of all it has read. A member begins with those of the task that
            started it, which gets the member's when that ends. A coroutine is opaque: whatever it
            does next may depend on anything it has read.
        ceiling: The tags that what it reads may have; None for any.
    """

    coroutine: Coroutine[Any, Any, Any]
    question: Question
    meter: Meter
    path: tuple[int, ...] = ()
    gather: Gather | None = None
    spawned: int = 0
    sensitivity: Sensitivity = PUBLIC
    ceiling: Sensitivity | None = None


@dataclass(slots=True, eq=False)
class Gather:
    """A task that waits for its members.

    Args:
        task: The task that waits.
        results: What the members returned, in order.
        missing: How many have not ended yet.
        single: Whether there is one member, whose result is handed on as it is.
        errors: What members raised, by their places.
    """

    task: Task
    results: list[Any]
    missing: int
    single: bool = False
    errors: dict[int, Exception] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Call:
    """An operation that waits for a backend.

    Args:
        op: The operation.
        task: The task that awaits it.
        reservation: What its meter was promised; set on admission.
    """

    op: LeafOp[Any]
    task: Task
    reservation: Reservation | None = None

    @property
    def meter(self) -> Meter:
        """The meter that the call lands on."""
        return self.task.meter

    @property
    def backends(self) -> Backends:
        """The backends of its question."""
        return self.task.question.backends

    @property
    def backend(self) -> Any:
        """What carries it out.

        Raises:
            ProgramError: There is nothing that does.
        """
        return self.backends.of(self.op)

    @property
    def order(self) -> tuple[int, tuple[int, ...]]:
        """The call's place among all that wait; it depends on its own question alone."""
        return self.task.question.number, self.task.path

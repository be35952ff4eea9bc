"""The engine: runs one program or thousands, one batch of operations at a time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from rag.core import execution
from rag.core.backends import Backends
from rag.core.budgets import Budget, Meter
from rag.core.errors import Cancelled
from rag.core.events import Event, Outcome, Started
from rag.core.protocols import LLM, Retriever
from rag.core.scheduler import Scheduler
from rag.core.tasks import Call, Question
from rag.core.usage import Usage

T = TypeVar("T")


class Engine:
    """Runs programs on backends, in the caller's thread.

    The engine gathers the pending operations of all live programs, groups them by kind and
    backend, runs each group as one batch and resumes each program with its result. Every
    operation is metered on the question that asked for it.

    Args:
        llm: Model for operations that name none.
        retriever: Retriever for operations that name none.
        budget: What all questions together may use.
        max_live: Programs that are live at once; the others of a run wait for a place.
        clock: Seconds, from any start; tests give their own.
    """

    def __init__(
        self,
        *,
        llm: LLM | None = None,
        retriever: Retriever | None = None,
        budget: Budget | None = None,
        max_live: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backends = Backends(llm, retriever)
        self.meter = Meter(budget or Budget(), clock=clock)
        self._max_live = max_live
        self._clock = clock

    @property
    def usage(self) -> Usage:
        """What all questions used so far."""
        return self.meter.used

    def run(self, program: Awaitable[T], *, budget: Budget | None = None) -> T:
        """Run one program and return its value, or raise its error.

        Args:
            program: The program, such as `pipeline.program(question)`.
            budget: What it may use.
        """
        return self.run_many([program], budget=budget)[0].unwrap()

    def run_many(
        self,
        programs: Sequence[Awaitable[T]],
        *,
        budget: Budget | None = None,
        trace: bool = False,
    ) -> list[Outcome[T]]:
        """Run programs side by side and return their outcomes in order.

        Args:
            programs: The programs; one that fails leaves the others untouched.
            budget: What each of them may use.
            trace: Whether outcomes keep the operations that led to them.
        """
        scheduler = self._scheduler()
        waiting = iter(programs)
        questions: list[Question] = []
        live: list[Question] = []
        try:
            while True:
                for program in islice(waiting, self._max_live - len(live)):
                    live.append(scheduler.start(program, budget or Budget(), traced=trace))
                    questions.append(live[-1])
                if not live:
                    return [question.outcome for question in questions if question.outcome]
                for _ in self._round(scheduler):
                    pass
                live = [question for question in live if question.outcome is None]
        finally:
            _abandon(scheduler, live, waiting)

    def stream(self, program: Awaitable[T], *, budget: Budget | None = None) -> Iterator[Event]:
        """Run one program and yield what happens; its `Outcome` comes last.

        Closing the iterator ends the program; no further operation is carried out.

        Args:
            program: The program.
            budget: What it may use.
        """
        scheduler = self._scheduler()
        question = scheduler.start(program, budget or Budget(), streamed=True)
        try:
            while question.outcome is None:
                yield from self._round(scheduler)
            yield question.outcome
        finally:
            _abandon(scheduler, [question], ())

    def _scheduler(self) -> Scheduler:
        return Scheduler(self.meter, self.backends)

    def _round(self, scheduler: Scheduler) -> Iterator[Event]:
        """Let every program go on to its next operations, and carry those out."""
        scheduler.advance()
        batches = scheduler.take(execution.batch).values()
        needs = [pair for each in batches for pair in zip(each, execution.needs(each), strict=True)]
        admitted = scheduler.admit(dict(needs))
        try:
            for batch in batches:
                if calls := [call for call in batch if call in admitted]:
                    yield from self._carry_out(scheduler, calls)
        finally:
            scheduler.abandon(admitted, made=False)
        scheduler.advance()

    def _carry_out(self, scheduler: Scheduler, calls: Sequence[Call]) -> Iterator[Event]:
        try:
            yield from (Started(call.op) for call in calls)
            began = self._clock()
            if len(calls) == 1 and execution.streams(calls[0]):
                results = yield from execution.stream(calls[0])
            else:
                results = execution.run(calls)
            share = (self._clock() - began) / len(calls)
            for call, result in zip(calls, results, strict=True):
                yield scheduler.deliver(call, result, execution.usage_of(call, result, share))
        finally:
            scheduler.abandon(calls)


def _abandon(scheduler: Scheduler, live: list[Question], waiting: Iterable[Any]) -> None:
    """Close what an interrupted run leaves behind, so that no coroutine goes unawaited."""
    for question in live:
        if question.outcome is None:
            scheduler.cancel(question, Cancelled("the run was interrupted"))
    for program in waiting:
        if isinstance(program, Coroutine):
            program.close()

"""Runs programs up to their next operations, without carrying out any.

The scheduler is the pure half of the engine: it steps coroutines, holds them to their budgets and
hands out calls in batches. Drivers carry the batches out and deliver the results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from typing import Any

from rag.core.answers import Answer
from rag.core.backends import Backends
from rag.core.budgets import Budget, Meter, Reservation
from rag.core.errors import FetchFailed, ProgramError
from rag.core.events import Finished, Outcome
from rag.core.operations import LeafOp, Limited, Note, Remaining, Restricted, Together
from rag.core.sensitivity import PUBLIC, Sensitivity
from rag.core.tasks import Call, Gather, Question, Task
from rag.core.usage import Usage


class Scheduler:
    """Live programs and the calls they wait for.

    Args:
        meter: The meter around all questions.
        backends: What the operations of a question run on where it has no backends of its own.
    """

    def __init__(self, meter: Meter, backends: Backends) -> None:
        self._meter = meter
        self._backends = backends
        self._ready: deque[tuple[Task, Any, Exception | None]] = deque()
        self._pending: list[Call] = []
        self._started = 0

    def start(
        self,
        program: Awaitable[Any],
        budget: Budget,
        *,
        backends: Backends | None = None,
        within: Meter | None = None,
        traced: bool = False,
        streamed: bool = False,
    ) -> Question:
        """Take in a program; it takes its first step at the next `advance`.

        Args:
            program: The program.
            budget: What it may use.
            backends: What its operations run on, in place of the scheduler's.
            within: The meter around it, in place of the scheduler's.
            traced: Whether its operations are kept for the outcome.
            streamed: Whether the pieces of its replies are wanted as they are written.
        """
        meter = Meter(budget, within or self._meter, self._meter.clock)
        question = Question(meter, self._started, backends or self._backends, traced, streamed)
        self._started += 1
        self._spawn(program, question, meter)
        return question

    def advance(self) -> None:
        """Run every program that can go on until all wait for backends or have ended."""
        while self._ready:
            self._step(*self._ready.popleft())

    def take(
        self,
        key: Callable[[Call], Hashable],
        may_start: Callable[[Hashable, Sequence[Call]], bool] = lambda _key, _calls: True,
    ) -> dict[Hashable, list[Call]]:
        """Hand out the waiting calls in batches.

        Args:
            key: Calls with equal keys form a batch.
            may_start: Says of a key and the calls that wait for it whether it is their turn; if
                not, they stay for later.
        """
        waiting: dict[Hashable, list[Call]] = {}
        for call in sorted(self._pending, key=lambda call: call.order):
            waiting.setdefault(key(call), []).append(call)
        batches = {name: calls for name, calls in waiting.items() if may_start(name, calls)}
        self._pending = [
            call for name, calls in waiting.items() if name not in batches for call in calls
        ]
        return batches

    def admit(self, requests: Mapping[Call, Reservation | Exception]) -> set[Call]:
        """Return the calls that may be made; the programs of the others get the error.

        Calls are admitted in an order of their own, so that which of a question's branches meets
        its budget does not depend on what else is run.

        Args:
            requests: For each call from `take` what it needs, or why that could not be found out.
        """
        admitted = set()
        for call, request in sorted(requests.items(), key=lambda item: item[0].order):
            if call.task.question.outcome is not None:
                continue
            try:
                if isinstance(request, Exception):
                    raise request
                call.meter.reserve(request, call.op.stage)
            except Exception as error:  # noqa: BLE001 # whatever it is, the program gets it
                self._ready.append((call.task, None, error))
            else:
                call.reservation = request
                admitted.add(call)
        return admitted

    def deliver(self, call: Call, result: Any, usage: Usage) -> Finished:
        """Meter a call that was made and let its program go on with the result or error."""
        if call.reservation is None:
            raise ProgramError(f"{call.op!r} was not admitted")
        call.meter.settle(call.reservation, usage, call.op.stage)
        call.reservation = None
        if not isinstance(result, Exception):
            result = self._read(call, result)
        finished = Finished(call.op, result, usage)
        question = call.task.question
        if question.outcome is None:
            if question.traced:
                question.trace.append(finished)
            error = result if isinstance(result, Exception) else None
            self._ready.append((call.task, result, error))
        return finished

    def _read(self, call: Call, result: Any) -> Any:
        """Return what a program gets to read of a result, and keep its tags."""
        if call.task.ceiling is not None:
            try:
                result = call.op.below(result, call.task.ceiling)
            except FetchFailed as error:
                return error
        call.task.sensitivity |= call.op.reads(result)
        return result

    def abandon(self, calls: Iterable[Call], *, made: bool = True) -> None:
        """Meter calls that were never delivered.

        Args:
            calls: The calls; those that were delivered are passed over.
            made: Whether a backend may have begun: then what they were promised counts as used.
        """
        for call in calls:
            if call.reservation is not None:
                promised = call.reservation
                used = Usage(input_tokens=promised.tokens, calls=promised.calls)
                call.meter.settle(promised, used if made else Usage(), call.op.stage)
                call.reservation = None

    def cancel(self, question: Question, error: Exception) -> None:
        """End a question at once; none of its waiting calls is made any more."""
        read = PUBLIC.union(*(task.sensitivity for task in question.tasks))
        self._end(question, None, error, read)

    def _spawn(
        self,
        program: Awaitable[Any],
        question: Question,
        meter: Meter,
        path: tuple[int, ...] = (),
        gather: Gather | None = None,
        ceiling: Sensitivity | None = None,
    ) -> None:
        coroutine = program if isinstance(program, Coroutine) else _await(program)
        task = Task(coroutine, question, meter, path, gather)
        if gather is not None:
            task.sensitivity = gather.task.sensitivity
            task.ceiling = gather.task.ceiling if ceiling is None else ceiling
        question.tasks.append(task)
        self._ready.append((task, None, None))

    def _spawn_members(
        self,
        task: Task,
        members: Sequence[Awaitable[Any]],
        meter: Meter,
        *,
        single: bool = False,
        ceiling: Sensitivity | None = None,
    ) -> None:
        gather = Gather(task, [None] * len(members), len(members), single)
        for position, member in enumerate(members):
            path = (*task.path, task.spawned, position)
            self._spawn(member, task.question, meter, path, gather, ceiling)
        task.spawned += 1

    def _step(self, task: Task, value: Any, error: Exception | None) -> None:
        if task.question.outcome is not None:
            return
        try:
            if error is not None:
                awaited = task.coroutine.throw(error)
            else:
                awaited = task.coroutine.send(value)
        except StopIteration as stop:
            self._finish(task, stop.value)
        except Exception as raised:  # noqa: BLE001 # whatever it is, the caller gets it
            self._finish(task, None, raised)
        else:
            self._handle(task, awaited)

    def _handle(self, task: Task, awaited: Any) -> None:
        match awaited:
            case Together(members) if members:
                self._spawn_members(task, members, task.meter)
            case Together():
                self._ready.append((task, (), None))
            case Limited(program, budget):
                meter = Meter(budget, task.meter, task.meter.clock)
                self._spawn_members(task, [program], meter, single=True)
            case Restricted(program, ceiling):
                # A ceiling inside of another lets through what both do.
                lower = ceiling if task.ceiling is None else ceiling & task.ceiling
                self._spawn_members(task, [program], task.meter, single=True, ceiling=lower)
            case Remaining():
                self._ready.append(
                    (task, task.meter.allowance(task.question.backends.context_window), None)
                )
            case Note(text):
                task.question.notes[text] = None
                self._ready.append((task, None, None))
            case LeafOp():
                self._call(task, awaited)
            case _:
                error = ProgramError(
                    f"a program awaited {awaited!r}; inside a program await only operations of "
                    "rag.core and other programs"
                )
                self._ready.append((task, None, error))

    def _call(self, task: Task, op: LeafOp[Any]) -> None:
        try:
            program = task.question.backends.program(op)
        except Exception as error:  # noqa: BLE001 # whatever it is, the program gets it
            self._ready.append((task, None, error))
            return
        if program is None:
            self._pending.append(Call(op, task))
        else:
            self._spawn_members(task, [program], task.meter, single=True)

    def _finish(self, task: Task, value: Any, error: Exception | None = None) -> None:
        task.question.tasks.remove(task)
        gather = task.gather
        if isinstance(value, Answer):
            value = replace(value, sensitivity=task.sensitivity)
        if gather is None:
            self._end(task.question, value, error, task.sensitivity)
            return
        gather.task.sensitivity |= task.sensitivity
        gather.results[task.path[-1]] = value
        if error is not None:
            gather.errors[task.path[-1]] = error
        gather.missing -= 1
        if gather.missing == 0:
            first = gather.errors[min(gather.errors)] if gather.errors else None
            results = gather.results[0] if gather.single else tuple(gather.results)
            self._ready.append((gather.task, results, first))

    def _end(
        self, question: Question, value: Any, error: Exception | None, read: Sensitivity
    ) -> None:
        meter = question.meter
        question.outcome = Outcome(
            value,
            error,
            meter.used,
            dict(meter.stages),
            tuple(question.trace),
            tuple(question.notes),
            read,
        )
        self._pending = [call for call in self._pending if call.task.question is not question]
        # Members end before the programs that wait for them, as in a synchronous unwind.
        while question.tasks:
            question.tasks.pop().coroutine.close()


async def _await(operation: Awaitable[Any]) -> Any:
    return await operation

"""The engine for servers: programs of concurrent requests share micro-batches."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

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


class AsyncEngine:
    """Runs programs of concurrent tasks of one event loop.

    Backends work in threads, one batch at a time each; what is asked for meanwhile forms the next
    batch. A retriever that states more `batches_at_once` gets another one as soon as that is as
    large as one of those under way, so that it reads what one found while it embeds the next.
    Models with the capability 'concurrent' get every call at once, for they form batches of their
    own. Cancelling the task that awaits `run` ends its program: calls that wait are
    dropped, and the result of a call under way is metered and thrown away.

    Args:
        llm: Model for operations that name none.
        retriever: Retriever for operations that name none.
        budget: What all questions together may use.
        max_threads: Calls of backends under way at once; the others wait for a thread.
        clock: Seconds, from any start; tests give their own.
    """

    def __init__(
        self,
        *,
        llm: LLM | None = None,
        retriever: Retriever | None = None,
        budget: Budget | None = None,
        max_threads: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backends = Backends(llm, retriever)
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="rag-engine")
        self.meter = Meter(budget or Budget(), clock=clock)
        self._clock = clock
        self._scheduler = Scheduler(self.meter, self.backends)
        self._under_way: defaultdict[Hashable, list[int]] = defaultdict(list)
        self._serving: set[asyncio.Task[None]] = set()
        self._listeners: dict[Question, asyncio.Queue[Event]] = {}

    @property
    def usage(self) -> Usage:
        """What all questions used so far."""
        return self.meter.used

    async def run(
        self,
        program: Awaitable[T],
        *,
        budget: Budget | None = None,
        within: Meter | None = None,
        backends: Backends | None = None,
    ) -> T:
        """Run one program and return its value, or raise its error.

        Args:
            program: The program, such as `pipeline.program(question)`.
            budget: What it may use.
            within: A meter that it lands on and is held to, such as that of one user; its parent
                should be the engine's.
            backends: What operations that name no backend run on, in place of the engine's.
        """
        outcome: Outcome[T] | None = None
        async for event in self.stream(
            program, budget=budget, within=within, backends=backends, deltas=False
        ):
            if isinstance(event, Outcome):
                outcome = event
        if outcome is None:
            raise Cancelled("the run was interrupted")
        return outcome.unwrap()

    async def stream(
        self,
        program: Awaitable[T],
        *,
        budget: Budget | None = None,
        within: Meter | None = None,
        backends: Backends | None = None,
        deltas: bool = True,
    ) -> AsyncIterator[Event]:
        """Run one program and yield what happens; its `Outcome` comes last.

        Closing the iterator ends the program.

        Args:
            program: The program.
            budget: What it may use.
            within: As for `run`.
            backends: As for `run`.
            deltas: Whether to yield replies as they are written. Without, models of this process
                write those of several programs together, as one batch.
        """
        question = self._scheduler.start(
            program, budget or Budget(), backends=backends, within=within, streamed=deltas
        )
        events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._listeners[question] = events
        try:
            self._pump()
            while True:
                event = await events.get()
                yield event
                if isinstance(event, Outcome):
                    return
        finally:
            self._listeners.pop(question, None)
            if question.outcome is None:
                self._scheduler.cancel(question, Cancelled("the run was interrupted"))

    def _pump(self) -> None:
        """Let programs go on, start a batch on every idle backend, tell listeners of the end."""
        self._scheduler.advance()
        for lane, calls in self._scheduler.take(execution.lane, self._may_start).items():
            self._under_way[lane].append(len(calls))
            serving = self._loop.create_task(self._serve(lane, calls))
            # The loop itself keeps no task alive.
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
        for question in list(self._listeners):
            if question.outcome is not None:
                self._listeners.pop(question).put_nowait(question.outcome)

    def _may_start(self, lane: Hashable, calls: Sequence[Call]) -> bool:
        sizes = self._under_way[lane]
        if not sizes or execution.concurrent(calls[0]):
            return True
        return len(sizes) < execution.batches_at_once(calls[0]) and len(calls) >= min(sizes)

    async def _serve(self, lane: Hashable, calls: list[Call]) -> None:
        """Carry out what waits for one backend, one batch after the other."""
        batches: dict[Hashable, list[Call]] = {}
        for call in calls:
            batches.setdefault(execution.batch(call), []).append(call)
        try:
            if execution.concurrent(calls[0]):
                await asyncio.gather(*map(self._serve_batch, batches.values()))
            else:
                for batch in batches.values():
                    await self._serve_batch(batch)
                    self._pump()
        finally:
            self._under_way[lane].remove(len(calls))
            if not self._under_way[lane]:
                del self._under_way[lane]
            self._pump()

    async def _serve_batch(self, batch: list[Call]) -> None:
        needs = await self._in_thread(partial(execution.needs, batch))
        accepted = self._scheduler.admit(dict(zip(batch, needs, strict=True)))
        admitted = [call for call in batch if call in accepted]
        streamed = [call for call in admitted if execution.streams(call)]
        together = [call for call in admitted if call not in streamed]
        work = [([call], partial(self._stream, call)) for call in streamed]
        if together:
            work.append((together, partial(execution.run, together)))
        try:
            if execution.concurrent(batch[0]):
                await asyncio.gather(*(self._carry_out(*each) for each in work))
            else:
                for each in work:
                    await self._carry_out(*each)
        finally:
            self._scheduler.abandon(admitted)

    async def _carry_out(self, calls: list[Call], work: Callable[[], list[Any]]) -> None:
        for call in calls:
            self._tell(call.task.question, Started(call.op))
        began = self._clock()
        results = await self._in_thread(work)
        share = (self._clock() - began) / len(calls)
        for call, result in zip(calls, results, strict=True):
            usage = execution.usage_of(call, result, share)
            self._tell(call.task.question, self._scheduler.deliver(call, result, usage))
        self._pump()

    def _in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._threads, work)

    def _stream(self, call: Call) -> list[Any]:
        """Pass the pieces of a reply on to the listener; runs in a thread."""
        question = call.task.question
        pieces = execution.stream(call)
        while True:
            try:
                delta = next(pieces)
            except StopIteration as end:
                return cast(list[Any], end.value)
            if question.outcome is not None:
                pieces.close()
                return [question.outcome.error]
            self._loop.call_soon_threadsafe(self._tell, question, delta)

    def _tell(self, question: Question, event: Event) -> None:
        if question in self._listeners:
            self._listeners[question].put_nowait(event)

"""Answers: which pipeline, from where, within which limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from starlette.concurrency import run_in_threadpool

from rag.core.answers import Answer
from rag.core.backends import Backends
from rag.core.budgets import Budget
from rag.core.events import Event, Outcome
from rag.core.filters import Where, parse_where
from rag.core.operations import Note
from rag.pipelines import Pipeline, metered
from rag.pipelines.allocate import as_planned
from rag.pipelines.context_encoding import with_contexts
from rag.pipelines.conversation import Conversation, Turn
from rag.pipelines.encoded_passages import FOLDER
from rag.pipelines.in_time import in_time
from rag.pipelines.strategies import Strategy
from rag.retrievers import FederatedRetriever, WebRetriever
from rag.service.access import Caller
from rag.service.answer_schemas import (
    AnswerReply,
    AnswerRequest,
    BudgetRequest,
    PipelineReply,
    StageUsage,
    StepReply,
)
from rag.service.errors import ApiError
from rag.service.leaving import until_late
from rag.service.library import Library
from rag.service.observing import observed
from rag.service.pipelines import Pipelines
from rag.service.places import shown_citations, shown_hits
from rag.service.settings import Settings

if TYPE_CHECKING:
    from rag.core.async_engine import AsyncEngine
    from rag.core.protocols import LLM, Retriever
    from rag.indexes import Collection
    from rag.service.daily_tokens import DailyTokens
    from rag.service.metrics import Metrics

_GRACE = 10.0
"""Seconds that calls under way get when none may begin any more; a quarter of the time at most."""


class Answering:
    """Answers questions from collections and the web.

    Args:
        settings: How the service is run.
        engine: Runs the programs.
        library: The collections.
        llm: The language model; None for none.
        web: The web; None where answers from there are not enabled.
        daily_tokens: What each key may use in a day.
        metrics: Count what is done.

    Attributes:
        offered: The pipelines by name.
        web: The web; None where answers from there are not enabled.

    Raises:
        InputError: Settings name something that is not there.
    """

    def __init__(
        self,
        settings: Settings,
        engine: AsyncEngine,
        library: Library,
        llm: LLM | None,
        web: WebRetriever | None,
        daily_tokens: DailyTokens,
        metrics: Metrics,
    ) -> None:
        self.offered = Pipelines(settings, llm)
        self.web = web
        self._settings = settings
        self._engine = engine
        self._library = library
        self._llm = llm
        self._daily_tokens = daily_tokens
        self._metrics = metrics
        self._readers: WeakKeyDictionary[Collection, LLM] = WeakKeyDictionary()
        self._choosing = Lock()

    @property
    def pipelines(self) -> tuple[PipelineReply, ...]:
        """The ways to answer."""
        return self.offered.replies()

    async def events(
        self,
        request: AnswerRequest,
        caller: Caller,
        *,
        turns: Sequence[Turn] = (),
        max_tokens: int | None = None,
        deltas: bool = True,
    ) -> AsyncGenerator[Event, None]:
        """Answer a question and yield what happens; the `Outcome` comes last.

        Closing the iterator ends the program. What cannot be carried out is refused before the
        first event.

        Args:
            request: The question.
            caller: Who asks.
            turns: What was said before, the latest last.
            max_tokens: Tokens of a reply at most, for pipelines that read once.
            deltas: Whether replies are wanted as they are written; they may come so anyway.

        Raises:
            RagError: The request cannot be carried out.
            ApiError: Likewise, or it took longer than it may.
        """
        retriever = self._retriever(request, caller)
        parse_where(request.where or {})
        budget, seconds = self._limits(request.budget)
        # Templates are read from files, and plans are computed.
        pipeline, budget, notes = await run_in_threadpool(
            self._made, request, retriever, budget, turns, max_tokens
        )
        llm = await run_in_threadpool(self._reader, request)
        # What is written piece by piece ends with its request; such models batch it all the same.
        deltas = deltas or "concurrent" in getattr(llm, "capabilities", ())
        async with self._daily_tokens.meter(caller) as meter:
            running = observed(
                self._engine.stream(
                    _noted(notes, pipeline, request.question, request.where),
                    budget=budget,
                    within=meter,
                    backends=Backends(llm, retriever),
                    deltas=deltas,
                ),
                self._metrics,
                name=self.offered.named(request.pipeline),
                llm=llm,
            )
            async with aclosing(until_late(running, seconds)) as events:
                async for event in events:
                    yield event

    def reply(
        self,
        request: AnswerRequest,
        outcome: Outcome[Answer],
        seconds: float,
        id: str,  # noqa: A002
    ) -> AnswerReply:
        """Return the answer of an outcome.

        Args:
            request: What was asked.
            outcome: What came of it.
            seconds: How long that took.
            id: Names the answer.

        Raises:
            RagError: The program failed; its own error.
        """
        self._library.explain(outcome.error, request.collection)
        answer = metered(outcome)
        return AnswerReply(
            id=id,
            text=answer.text,
            supported=answer.supported,
            citations=shown_citations(answer.citations),
            hits=shown_hits(answer.hits),
            steps=tuple(
                StepReply(
                    question=step.question,
                    answer=step.answer,
                    passages=tuple(hit.passage.id for hit in step.hits),
                )
                for step in answer.steps
            ),
            notes=answer.notes,
            pipeline=self.offered.named(request.pipeline),
            usage=answer.usage,
            stages=tuple(StageUsage(stage=name, usage=usage) for name, usage in answer.stages),
            seconds=seconds,
            confidence=answer.confidence,
            sensitivity=tuple(sorted(answer.sensitivity or ())),
        )

    def _retriever(self, request: AnswerRequest, caller: Caller) -> Retriever:
        """Return where to look; the parts are the same objects for all requests."""
        sources: dict[str, Retriever] = {}
        if request.collection is not None:
            caller.check(request.collection)
            shelf = self._library[request.collection]
            sources["collection"] = shelf.retrievers[request.retriever]
        if request.web:
            if self.web is None:
                message = "this service does not search the web; ask a collection"
                raise ApiError(422, "web_disabled", message, param="web")
            sources["web"] = self.web
        if not sources:
            message = "there is nothing to answer from: name a collection, or set web"
            raise ApiError(422, "no_source", message, param="collection")
        if len(sources) == 1:
            return next(iter(sources.values()))
        return FederatedRetriever(sources, {"web": self._settings.web.weight})

    def _reader(self, request: AnswerRequest) -> LLM | None:
        """Return the model; for a collection whose passages it may keep, one that does."""
        name = self.offered.named(request.pipeline)
        if self._llm is None or request.web or not self.offered.reads_once(name):
            return self._llm
        collection = self._library[request.collection or ""].collection
        with self._choosing:
            if collection not in self._readers:
                folder = collection.path / FOLDER
                self._readers[collection], _ = with_contexts(
                    self._llm, "auto", folder, self.offered.template
                )
            return self._readers[collection]

    def _limits(self, asked: BudgetRequest) -> tuple[Budget, float]:
        """Return what an answer may use, and the seconds after which it is ended."""
        allowed = self._settings.answers
        grace = min(_GRACE, allowed.seconds / 4)
        seconds = least(asked.seconds, allowed.seconds - grace) or 0.0
        tokens = least(asked.tokens, allowed.tokens)
        budget = Budget(
            tokens=None if tokens is None else int(tokens),
            calls=asked.calls,
            seconds=seconds,
            cost=asked.cost,
        )
        return budget, seconds + grace

    def _made(
        self,
        request: AnswerRequest,
        retriever: Retriever,
        budget: Budget,
        turns: Sequence[Turn],
        max_tokens: int | None,
    ) -> tuple[Pipeline, Budget, tuple[str, ...]]:
        """Return the pipeline, what it may use, and notes on that."""
        # Seconds that nobody asked for end an answer, but do not shorten what is read.
        times = None if request.budget.seconds is None else self.offered.cost_model
        asked = replace(budget, seconds=budget.seconds if times else None)
        pipeline = self.offered.make(
            self.offered.named(request.pipeline),
            retriever,
            web=request.web,
            budget=asked,
            top_k=request.top_k,
            max_tokens=max_tokens,
        )
        limited, notes = in_time(pipeline.budget or asked, pipeline, times)
        if isinstance(pipeline, Strategy) and pipeline.budget:
            notes = (as_planned(pipeline), *notes)
        if turns:
            pipeline = self._following(pipeline, turns, web=request.web)
        return pipeline, replace(limited, seconds=budget.seconds), notes

    def _following(self, pipeline: Pipeline, turns: Sequence[Turn], *, web: bool) -> Pipeline:
        # Earlier answers may rest on collections, whose texts no search engine may be told.
        said = [Turn(turn.question) for turn in turns] if web else turns
        return Conversation(pipeline, said, self._llm, prompts=self._settings.answers.prompts)


def least(*limits: float | None) -> float | None:
    """Return the lowest of the limits that there are; None without any."""
    return min((limit for limit in limits if limit is not None), default=None)


async def _noted(
    notes: Sequence[str], pipeline: Pipeline, question: str, where: Where | None
) -> Answer:
    for note in notes:
        await Note(note)
    return await pipeline.program(question, where)

"""What a budget would be spent on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from rag.core.budgets import Budget
from rag.core.hits import Hit
from rag.core.templates import load_template
from rag.service.answer_schemas import PlanReply
from rag.service.answering import least
from rag.service.pipelines import Pipelines
from rag.service.settings import Answers

if TYPE_CHECKING:
    from rag.core.protocols import LLM
    from rag.indexes import Collection

_SAMPLE = 16
"""Passages that a prompt's tokens are estimated from."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a model reads of a collection.

    Args:
        generation: That of the collection when it was estimated.
        passages: Passages that there are.
        frame: Tokens of a prompt without passages.
        passage: Tokens of a passage in a prompt, on average.
    """

    generation: int
    passages: int
    frame: int
    passage: float


class Planner:
    """Says what a budget would be spent on, without asking the model.

    Args:
        answers: How questions are answered.
        pipelines: The pipelines.
        llm: The language model; None for none.
    """

    def __init__(self, answers: Answers, pipelines: Pipelines, llm: LLM | None) -> None:
        self._answers = answers
        self._pipelines = pipelines
        self._llm = llm
        self._template = load_template("read", answers.prompts)
        self._readings: WeakKeyDictionary[Collection, _Reading] = WeakKeyDictionary()

    def plan(
        self,
        pipeline: str | None,
        collection: Collection | None,
        tokens: int | None,
        top_k: int | None,
    ) -> PlanReply:
        """Return what an answer would be made of.

        Args:
            pipeline: Name of the pipeline; None for the default.
            collection: What is asked; None for the web.
            tokens: Input tokens at most; None for as many as settings allow.
            top_k: Passages to read; None for as many as settings say.

        Raises:
            ApiError: There is no such pipeline.
            BudgetTooSmall: Nothing that can be planned fits the tokens.
        """
        name = self._pipelines.named(pipeline)
        limit = least(tokens, self._answers.tokens)
        budget = None if limit is None else int(limit)
        own = self._pipelines.own.get(name)
        documents = self._pipelines.documents(name, top_k)
        if name == "planned":
            return self._planned(budget)
        if name == "extractive" or self._llm is None:
            reason = "sentences of the passages are quoted; no language model reads them"
            return _plan(name, documents, tokens=0.0, reason=reason)
        if own and own.strategy != "read":
            reason = f"{own.strategy} is as the settings say, whatever the budget is"
            return _plan(
                name,
                documents,
                strategy=own.strategy,
                examples=own.examples,
                steps=own.steps,
                reason=reason,
            )
        if own and own.rerank:
            reason = f"what {own.rerank} reads to choose them depends on the question"
            return _plan(name, documents, reason=reason)
        if collection is None:
            return _plan(name, documents, reason="how long pages are is not known beforehand")
        return self._read(name, self._reading(collection, self._llm), documents, budget)

    def _planned(self, tokens: int | None) -> PlanReply:
        fitted = self._pipelines.fitted
        assert fitted is not None  # noqa: S101 # or the pipeline would have no such name
        plan = fitted.plan(Budget(tokens=tokens), cells=self._pipelines.cells)
        within = "without a limit" if tokens is None else f"of what fits {tokens:,} tokens"
        reason = f"{plan.strategy} {plan.allocation} is expected to score best {within}"
        if plan.next_doubling:
            twice = plan.next_doubling
            reason += f"; twice as many would buy {twice.strategy} {twice.allocation}"
        return PlanReply(
            pipeline="planned",
            strategy=plan.strategy,
            documents=plan.allocation.documents,
            examples=plan.allocation.examples,
            steps=plan.allocation.steps,
            tokens=plan.needs.tokens,
            quality=min(1.0, max(0.0, plan.prediction.mean)),
            reason=reason,
        )

    def _read(self, name: str, reading: _Reading, top_k: int, budget: int | None) -> PlanReply:
        wanted = min(top_k, reading.passages)
        if wanted == 0:
            return _plan(name, 0, tokens=0.0, reason="the collection is empty")
        window = self._llm.context_window - self._answers.max_tokens if self._llm else 0
        limit = window if budget is None else min(budget, window)
        fits = min(wanted, max(0, int((limit - reading.frame) / reading.passage)))
        about = f"a passage is about {reading.passage:.0f} tokens here"
        if fits == 0:
            reason = f"{about}, so none fits; sentences of the documents are quoted"
            return _plan(name, 0, tokens=0.0, reason=reason)
        fitting = f"all {wanted} fit" if fits == wanted else f"{fits} of {wanted} fit"
        tokens = reading.frame + fits * reading.passage
        return _plan(name, fits, tokens=round(tokens), reason=f"{about}, so {fitting}")

    def _reading(self, collection: Collection, llm: LLM) -> _Reading:
        """Return what the model reads of a collection as it is now; passages are read once."""
        info = collection.info()
        known = self._readings.get(collection)
        if known is not None and known.generation == info.generation:
            return known
        hits = [Hit(passage, 0.0) for passage in islice(collection.passages(), _SAMPLE)]
        # A question of usual length; its tokens are few next to those of passages.
        question = "What is the maximum size of a database file?"
        prompts = [self._template.render(question, shown) for shown in ((), hits)]
        frame, whole = llm.count_tokens(prompts)
        found = _Reading(
            info.generation, info.passages, frame, max(1.0, (whole - frame) / max(1, len(hits)))
        )
        self._readings[collection] = found
        return found


def _plan(
    pipeline: str,
    documents: int,
    *,
    reason: str,
    strategy: str | None = None,
    examples: int = 0,
    steps: int = 1,
    tokens: float | None = None,
) -> PlanReply:
    return PlanReply(
        pipeline=pipeline,
        strategy=strategy,
        documents=documents,
        examples=examples,
        steps=steps,
        tokens=tokens,
        quality=None,
        reason=reason,
    )

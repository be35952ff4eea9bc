"""Stops early: cheap allocations first, dearer ones only for questions that need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rag.allocation.escalation import Escalation
from rag.core.answers import Answer
from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import BatchError, InputError
from rag.core.events import Outcome
from rag.core.filters import Where
from rag.core.usage import Usage
from rag.pipelines.base import Pipeline, metered
from rag.pipelines.citations import without_citations
from rag.pipelines.extractive import UNREAD

_BATCH = 16


class Escalate(Pipeline):
    """Climbs a ladder of pipelines until an answer is sure.

    A question stops where the model finds its answer likely enough, or where two rungs agree: which
    of that is enough was fitted to development questions (`fit_escalation`). An answer that a
    budget spoilt does not replace one that was read.

    Args:
        pipelines: The rungs, cheap to dear; all use one retriever and one model.
        escalation: When to stop; it has as many rungs.

    Raises:
        InputError: The numbers of rungs differ.
    """

    def __init__(self, pipelines: Sequence[Pipeline], escalation: Escalation) -> None:
        if len(pipelines) != len(escalation.ladder):
            raise InputError(
                f"{len(pipelines)} pipelines but {len(escalation.ladder)} rungs; give one for each"
            )
        super().__init__(pipelines[0].retriever, pipelines[0].llm)
        self.pipelines = tuple(pipelines)
        self.escalation = escalation

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Try one rung after the other."""
        climbed: list[Answer] = []
        for pipeline in self.pipelines:
            climbed.append(await pipeline.program(question, where))
            if self._stops(climbed):
                break
        return self._best(climbed)

    def answer_all(
        self, questions: Sequence[str], budget: Budget, *, where: Where | None = None
    ) -> list[Answer]:
        """Answer many questions within one budget for all of them.

        Every question starts on the first rung. Then those that are not sure yet take the next one,
        the least sure first: what the others did not use is theirs.

        Args:
            questions: The questions.
            budget: What all of them together may use.
            where: Metadata filter for every search.

        Raises:
            BatchError: Some questions failed on the first rung; the others' answers are inside.
        """
        engine = Engine(llm=self.llm, retriever=self.retriever, budget=budget)
        climbed: list[list[Answer]] = [[] for _ in questions]
        used = [Usage()] * len(questions)
        errors: dict[int, Exception] = {}
        open_questions = list(range(len(questions)))
        for pipeline in self.pipelines:
            for start in range(0, len(open_questions), _BATCH):
                batch = open_questions[start : start + _BATCH]
                programs = [pipeline.program(questions[place], where) for place in batch]
                outcomes: list[Outcome[Answer]] = engine.run_many(programs)
                for place, outcome in zip(batch, outcomes, strict=True):
                    used[place] += outcome.usage
                    if outcome.error is None:
                        climbed[place].append(metered(outcome))
                    elif not climbed[place]:
                        errors[place] = outcome.error
            open_questions = [
                place
                for place in open_questions
                if place not in errors and not self._stops(climbed[place])
            ]
            open_questions.sort(key=lambda place: climbed[place][-1].confidence or 0.0)
        results = [
            errors.get(place) or replace(self._best(answers), usage=used[place])
            for place, answers in enumerate(climbed)
        ]
        if errors:
            raise BatchError(results)
        return [each for each in results if isinstance(each, Answer)]

    def _stops(self, climbed: Sequence[Answer]) -> bool:
        texts = [without_citations(each.text) for each in climbed]
        return self.escalation.stops(texts, climbed[-1].confidence)

    def _best(self, climbed: Sequence[Answer]) -> Answer:
        """Return the answer of the highest rung at which the model read something."""
        rung, best = 0, climbed[0]
        for place, answer in enumerate(climbed):
            if not any(UNREAD in note for note in answer.notes):
                rung, best = place, answer
        note = f"answered at rung {rung + 1} of {len(self.pipelines)}, after {len(climbed)}"
        return replace(best, notes=(*best.notes, note))

"""Stops early: cheap allocations first, dearer ones only for questions that need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rag.allocation.escalation import Escalation
from rag.core.answers import Answer
from rag.core.budgets import Allowance, Budget
from rag.core.engine import Engine
from rag.core.errors import BatchError, InputError, RagError
from rag.core.events import Outcome
from rag.core.filters import Where
from rag.core.usage import Usage
from rag.pipelines.base import Pipeline
from rag.pipelines.citations import without_citations
from rag.pipelines.shortfall import shortfall

_BATCH = 16


@dataclass(slots=True)
class _Climb:
    """How far a question has come.

    Args:
        answers: One for each rung so far.
        fell_short: Why the rung after those gave no answer that counts; '' if it was not tried.
        stages: What all rungs used, by stage.
    """

    answers: list[Answer] = field(default_factory=list)
    fell_short: str = ""
    stages: dict[str, Usage] = field(default_factory=dict)

    def add(self, result: Answer | RagError) -> None:
        """Take in what a rung gave."""
        problem = str(result) if isinstance(result, RagError) else shortfall(result)
        if isinstance(result, RagError) or (problem and self.answers):
            self.fell_short = problem
        else:
            self.answers.append(result)


class Escalate(Pipeline):
    """Climbs a ladder of pipelines until an answer is sure.

    A question stops where the model finds its answer likely enough, or where two rungs agree: which
    of that is enough was fitted to development questions (`fit_escalation`). It also stops at a
    rung that fails, or that the budget or the window has no room for; then the answer before it
    stays. A dearer rung would fare no better, and what was measured of a rung says nothing of one
    that left passages, examples or sub-questions out.

    Args:
        pipelines: The rungs, cheap to dear; all have one retriever and one model.
        escalation: When to stop; it has as many rungs.

    Raises:
        InputError: The numbers of rungs differ, or the pipelines' retrievers or models do.
    """

    def __init__(self, pipelines: Sequence[Pipeline], escalation: Escalation) -> None:
        if len(pipelines) != len(escalation.ladder):
            raise InputError(
                f"{len(pipelines)} pipelines but {len(escalation.ladder)} rungs; give one for each"
            )
        first = pipelines[0]
        if any(each.retriever is not first.retriever for each in pipelines):
            raise InputError("the pipelines have several retrievers; give all of them the same")
        if any(each.llm is not first.llm for each in pipelines):
            raise InputError("the pipelines have several models; give all of them the same")
        super().__init__(first.retriever, first.llm)
        self.pipelines = tuple(pipelines)
        self.escalation = escalation

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Try one rung after the other."""
        climb = _Climb()
        for pipeline in self.pipelines:
            try:
                climb.add(await pipeline.program(question, where))
            except RagError as error:
                if not climb.answers:
                    raise
                climb.add(error)
            if self._ended(climb):
                break
        return self._answer(climb)

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
        climbs = [_Climb() for _ in questions]
        errors: dict[int, Exception] = {}
        waiting = list(range(len(questions)))
        for pipeline in self.pipelines:
            taken: list[Usage] = []
            while waiting:
                size = _side_by_side(engine.meter.allowance(), taken)
                batch, waiting = waiting[:size], waiting[size:]
                programs = [pipeline.program(questions[place], where) for place in batch]
                outcomes: list[Outcome[Answer]] = engine.run_many(programs)
                for place, outcome in zip(batch, outcomes, strict=True):
                    taken.append(outcome.usage)
                    if error := _take(climbs[place], outcome):
                        errors[place] = error
            waiting = [
                place
                for place, climb in enumerate(climbs)
                if place not in errors and not self._ended(climb)
            ]
            waiting.sort(key=lambda place: climbs[place].answers[-1].confidence or 0.0)
        results = [errors.get(place) or self._metered(climb) for place, climb in enumerate(climbs)]
        if errors:
            raise BatchError(results)
        return [each for each in results if isinstance(each, Answer)]

    def _ended(self, climb: _Climb) -> bool:
        texts = [without_citations(each.text) for each in climb.answers]
        last = climb.answers[-1]
        short = bool(climb.fell_short or shortfall(last))
        return short or self.escalation.stops(texts, last.confidence)

    def _answer(self, climb: _Climb) -> Answer:
        """Return the answer of the highest rung, and say which that is."""
        rung, last = len(climb.answers), climb.answers[-1]
        notes = [*last.notes, f"answered at rung {rung} of {len(self.pipelines)}"]
        if climb.fell_short:
            notes.append(f"rung {rung + 1} fell short: {climb.fell_short}")
        return replace(last, notes=tuple(notes))

    def _metered(self, climb: _Climb) -> Answer:
        """Return the answer with what all rungs used."""
        used = sum(climb.stages.values(), Usage())
        return replace(self._answer(climb), usage=used, stages=tuple(climb.stages.items()))


def _take(climb: _Climb, outcome: Outcome[Answer]) -> Exception | None:
    """Take in what a rung gave and used; return an error that leaves the question unanswered."""
    for stage, usage in outcome.stages.items():
        climb.stages[stage] = climb.stages.get(stage, Usage()) + usage
    error = outcome.error
    if error is None:
        climb.add(outcome.unwrap())
    elif climb.answers and isinstance(error, RagError):
        climb.add(error)
    else:
        return error
    return None


def _side_by_side(left: Allowance, taken: Sequence[Usage]) -> int:
    """Return how many questions to run side by side: as many as what is left will do for.

    More of them would each use some of it and run out half-way.

    Args:
        left: What is left of the budget.
        taken: What questions took so far, on the same rung.
    """
    count = _BATCH
    for limit, kind in ((left.tokens, "input_tokens"), (left.calls, "calls"), (left.cost, "cost")):
        if limit is not None:
            most = max((getattr(each, kind) for each in taken), default=limit)
            count = min(count, int(limit // most)) if most else count
    return max(1, count)

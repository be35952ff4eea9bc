"""What all pipelines share: a program, and ways to run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rag.core.answers import Answer
from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import BatchError
from rag.core.events import Event, Outcome
from rag.core.filters import Where
from rag.core.operations import Program
from rag.core.protocols import LLM, Retriever


class Pipeline(ABC):
    """Answers questions; subclasses give the program.

    Args:
        retriever: Where to look.
        llm: The model that reads; None for pipelines that need none.

    Attributes:
        budget: What a question may use where a call states no budget; None is no limit. Programs
            that run elsewhere, such as inside of others, are not held to it.
    """

    budget: Budget | None = None

    def __init__(self, retriever: Retriever, llm: LLM | None = None) -> None:
        self.retriever = retriever
        self.llm = llm

    @abstractmethod
    def program(self, question: str, where: Where | None = None) -> Program[Answer]:
        """Return the program that answers a question.

        Args:
            question: The question.
            where: Metadata filter for every search.
        """

    def answer(
        self, question: str, *, where: Where | None = None, budget: Budget | None = None
    ) -> Answer:
        """Answer one question.

        Args:
            question: The question.
            where: Metadata filter for every search.
            budget: What the question may use, in place of `self.budget`.
        """
        outcomes = self._engine().run_many(
            [self.program(question, where)], budget=budget or self.budget
        )
        return metered(outcomes[0])

    def answer_many(
        self,
        questions: Sequence[str],
        *,
        where: Where | None = None,
        budget: Budget | None = None,
    ) -> list[Answer]:
        """Answer many questions side by side, in batches over all of them.

        Args:
            questions: The questions.
            where: Metadata filter for every search.
            budget: What each question may use, in place of `self.budget`.

        Raises:
            BatchError: Some questions failed; the others' answers are inside.
        """
        programs = [self.program(question, where) for question in questions]
        outcomes = self._engine().run_many(programs, budget=budget or self.budget)
        if any(outcome.error for outcome in outcomes):
            raise BatchError([outcome.error or metered(outcome) for outcome in outcomes])
        return [metered(outcome) for outcome in outcomes]

    def stream(
        self, question: str, *, where: Where | None = None, budget: Budget | None = None
    ) -> Iterator[Event]:
        """Answer one question and yield what happens; the `Outcome` comes last.

        `metered(outcome)` is the answer with its usage.

        Args:
            question: The question.
            where: Metadata filter for every search.
            budget: What the question may use, in place of `self.budget`.
        """
        return self._engine().stream(self.program(question, where), budget=budget or self.budget)

    def _engine(self) -> Engine:
        return Engine(llm=self.llm, retriever=self.retriever)


def metered(outcome: Outcome[Answer]) -> Answer:
    """Return the answer of an outcome with what it used, or raise its error."""
    answer = outcome.unwrap()
    notes = dict.fromkeys((*outcome.notes, *answer.notes))
    return replace(
        answer, usage=outcome.usage, stages=tuple(outcome.stages.items()), notes=tuple(notes)
    )

"""Iter-RetGen: retrieval with what was answered before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rag.core.allocations import Allocation
from rag.core.answers import Answer, Step
from rag.core.budgets import Allowance
from rag.core.errors import BudgetExhausted
from rag.core.filters import Where
from rag.core.generation import Sampling
from rag.core.hits import Hit
from rag.core.operations import Remaining
from rag.core.protocols import LLM, Retriever
from rag.core.worked_examples import WorkedExample
from rag.pipelines.base import Pipeline
from rag.pipelines.citations import without_citations
from rag.pipelines.drag import DRAG, NO_ROOM, documents
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.extractive import UNREAD


class IterRetGen(Pipeline):
    """Answers, searches for the question with that answer, answers from what is found, and so on.

    The method of arXiv 2305.15294, section 3. Each iteration searches for the question followed by
    the answer of the one before; the k passages found take the place of the earlier ones, and the
    last answer is the answer. In the paper a model reasons in words before it answers; here each
    iteration is the call that `DRAG` makes, an answer of a few words, so that strategies differ in
    what is read only, and that there is an answer whenever a budget ends.

    An iteration that finds the same passages in the same order ends it: its prompt would be the
    same. So does a budget of which less is left than the last iteration took.

    Args:
        retriever: Where to look.
        llm: The model that reads.
        allocation: Passages a search, worked examples, and iterations at most.
        examples: Where worked examples come from; a sequence is used from its start.
        sampling: How the model writes.
        prompts: A folder whose `short_answer.toml` replaces the shipped prompt.

    Attributes:
        templates: The prompts that it uses.
    """

    strategy = "Iter-RetGen"
    stepwise = False
    """Whether worked examples need steps."""

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        allocation: Allocation = Allocation(5, 0, 3),
        examples: ExamplePool | Sequence[WorkedExample] = (),
        sampling: Sampling = Sampling(max_tokens=32, stop=("\n",)),
        prompts: Path | None = None,
    ) -> None:
        super().__init__(retriever, llm)
        self.allocation = allocation
        self.sampling = sampling
        self.reader = DRAG(
            retriever,
            llm,
            allocation=allocation,
            examples=examples,
            sampling=sampling,
            prompts=prompts,
        )
        self.templates = self.reader.templates

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search and answer by turns."""
        hits, chosen = await self.reader.find(question, where)
        had = await Remaining()
        answer = await self.reader.read(question, hits, chosen)
        steps = [Step(question, without_citations(answer.text), hits)]
        notes: list[str] = []
        try:
            while len(steps) < self.allocation.steps and not _unread(answer):
                query = f"{question} {steps[-1].answer}".strip()
                hits = await documents(query, self.allocation.documents, where)
                if _ids(hits) == _ids(steps[-1].hits):
                    break
                left = await Remaining()
                read = (
                    await self.reader.read(question, hits, chosen) if _enough(had, left) else None
                )
                if read is None or _unread(read):
                    notes.append(f"iterations ended early {NO_ROOM}")
                    break
                had, answer = left, read
                steps.append(Step(query, without_citations(answer.text), hits))
        except BudgetExhausted as error:
            notes.append(f"iterations ended early {NO_ROOM}: {error}")
        return replace(answer, notes=(*answer.notes, *notes), steps=tuple(steps))


def _enough(had: Allowance, left: Allowance) -> bool:
    """Return whether as much is left as was used in between."""
    kinds = ("tokens", "calls", "seconds", "cost")
    pairs = ((getattr(had, kind), getattr(left, kind)) for kind in kinds)
    return all(now is None or now >= before - now for before, now in pairs)


def _ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]


def _unread(answer: Answer) -> bool:
    return any(UNREAD in note for note in answer.notes)

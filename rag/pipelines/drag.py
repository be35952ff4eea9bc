"""DRAG: demonstrations and passages in one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rag.core.allocations import Allocation
from rag.core.answers import Answer
from rag.core.errors import BudgetExhausted, ContextOverflow
from rag.core.filters import Where
from rag.core.generation import Prompt, Sampling
from rag.core.hits import Hit
from rag.core.protocols import LLM, Retriever
from rag.core.search_operations import Search
from rag.core.templates import Shot, load_template
from rag.core.worked_examples import WorkedExample
from rag.pipelines.base import Pipeline
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.extractive import unread
from rag.pipelines.fitting import contexts_that_fit
from rag.pipelines.short_answers import confidence, generate_surely, short_answer

NO_ROOM = "for lack of room"
"""Stands in the notes of an answer for which the window or the budget left something out."""


class DRAG(Pipeline):
    """Answers in a few words, in one call, from k passages and m examples with k passages each.

    The method of arXiv 2410.04343, section 3.2; what the paper compares it with are its edges:
    zero-shot QA (no passages, no examples), many-shot QA (no passages) and RAG (no examples).
    In every block the passages come first, the best of them last.

    What does not fit the model's window or the budget is left out, examples first, then passages,
    worst first, and the answer's notes say so.

    Args:
        retriever: Where to look.
        llm: The model that reads.
        allocation: Passages and worked examples; `steps` is 1.
        examples: Where worked examples come from; a sequence is used from its start.
        sampling: How the model writes.
        prompts: A folder whose `short_answer.toml` replaces the shipped prompt.

    Attributes:
        templates: The prompts that it uses.
    """

    strategy = "DRAG"
    stepwise = False
    """Whether worked examples need steps."""

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        allocation: Allocation = Allocation(10),
        examples: ExamplePool | Sequence[WorkedExample] = (),
        sampling: Sampling = Sampling(max_tokens=32, stop=("\n",)),
        prompts: Path | None = None,
    ) -> None:
        super().__init__(retriever, llm)
        self.allocation = allocation
        self.examples = examples if isinstance(examples, ExamplePool) else ExamplePool(examples)
        self.sampling = sampling
        self.template = load_template("short_answer", prompts)
        self.templates = (self.template,)

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search, choose examples, fit, read."""
        return await self.read(question, *await self.find(question, where))

    async def find(
        self, question: str, where: Where | None = None
    ) -> tuple[tuple[Hit, ...], tuple[WorkedExample, ...]]:
        """Return the passages and the worked examples for a question."""
        hits: tuple[Hit, ...] = ()
        chosen: tuple[WorkedExample, ...] = ()
        with suppress(BudgetExhausted):  # reading meets the same budget, and says so
            hits = await documents(question, self.allocation.documents, where)
            chosen = await self.examples.program(question, self.allocation.examples)
        return hits, chosen

    async def read(
        self, question: str, hits: Sequence[Hit], chosen: Sequence[WorkedExample] = ()
    ) -> Answer:
        """Answer from passages that were found already."""
        count = self.allocation.documents
        shots = [Shot(each.question, each.answer, each.hits[:count]) for each in chosen]
        notes: list[str] = []

        def render(contexts: int) -> Prompt:
            examples = self.examples.kept(shots, contexts - len(hits))
            return self.template.render(question, hits[:contexts], shots=examples)

        try:
            shown = await contexts_that_fit(render, len(hits) + len(shots), self.sampling)
            notes += short_of(self.allocation, hits, chosen)
            notes += left_out(len(hits), len(shots), shown)
            reply = await generate_surely(render(shown), self.sampling, "read")
        except (BudgetExhausted, ContextOverflow) as error:
            return unread(question, hits, str(error), notes)
        if reply.finish == "length":
            notes.append(f"the reply was cut at {self.sampling.max_tokens} tokens")
        return short_answer(
            question, reply.text, hits[:shown], notes=notes, confidence=confidence(reply)
        )


async def documents(question: str, count: int, where: Where | None) -> tuple[Hit, ...]:
    """Search, unless nothing is to be found."""
    return tuple(await Search(question, count, where)) if count else ()


def short_of(
    allocation: Allocation, found: Sequence[Hit], chosen: Sequence[WorkedExample]
) -> list[str]:
    """Say what an allocation asks for and there is not."""
    notes = []
    if len(found) < allocation.documents:
        notes.append(f"passages found: {len(found)} of {allocation.documents}")
    if len(chosen) < allocation.examples:
        notes.append(f"worked examples at hand: {len(chosen)} of {allocation.examples}")
    return notes


def left_out(found: int, chosen: int, shown: int) -> list[str]:
    """Say what there is and a prompt does not show.

    Args:
        found: Passages there are.
        chosen: Worked examples there are.
        shown: Contexts that fit: passages first, then examples.
    """
    notes = []
    examples = max(0, shown - found)
    if examples < chosen:
        notes.append(f"worked examples left out {NO_ROOM}: {chosen - examples} of {chosen}")
    if shown < found:
        notes.append(f"passages left out {NO_ROOM}: {found - shown} of {found}")
    return notes

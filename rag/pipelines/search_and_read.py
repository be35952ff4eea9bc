"""Search and read: plan, search, fuse, extract, read, cite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from rag.core.answers import Answer, Step
from rag.core.errors import BudgetExhausted
from rag.core.filters import Where
from rag.core.generation import Sampling
from rag.core.hits import Hit
from rag.core.operations import Generate, Limited, Note, Remaining
from rag.core.protocols import LLM, Retriever
from rag.core.search_operations import Search
from rag.core.templates import load_template
from rag.core.web import TimeRange
from rag.pipelines.extractive import NOTHING_FOUND
from rag.pipelines.extractor import Extractor
from rag.pipelines.read import RetrieveAndRead, half
from rag.pipelines.search_planner import SearchPlan, SearchPlanner
from rag.rerankers.base import Reranker
from rag.retrievers.fusion import reciprocal_rank_fusion
from rag.retrievers.side_by_side import search_all

UNSEARCHED = "no search was made: the answer is the model's own, and nothing supports it"
"""Stands in the notes of an answer for which the plan had no search."""


@runtime_checkable
class DatedRetriever(Retriever, Protocol):
    """A retriever that can keep to recent texts."""

    def within(self, time_range: TimeRange | None) -> Retriever:
        """Return a retriever that finds texts of a time range only."""


class SearchAndRead(RetrieveAndRead):
    """Plans what to search for, searches, extracts, reads and checks; without any index to build.

    Zero-indexing internet search augmented generation (arXiv 2411.19478) with a `WebRetriever`;
    other retrievers do as well. The searches of a plan run side by side, their hits are fused
    (reciprocal ranks), and a reranker may choose among them. With an extractor, only the sentences
    that help are read; where it finds none in any page, the passages are. What is read is answered
    from as by `RetrieveAndRead`.

    Where the plan has no search, the model answers by itself; that answer is not `supported`, and
    its notes say so. Where nothing is found within the time range of the plan, texts of any age are
    searched for. A search that fails is noted while another one does not. Planning, reranking and
    extracting may each use half of what is left of a budget.

    Args:
        retriever: Where to look.
        llm: The model that plans, extracts and reads, unless planner and extractor have their own.
        planner: Plans the searches; `SearchPlanner()` unless given.
        extractor: Extracts from what was found; passages are read as they are unless given.
        top_k: Passages to read, or to extract from.
        sampling: How the model writes.
        prompts: A folder whose `read.toml`, `closed_book.toml` and, for the planner that is not
            given, `search_plan.toml` replace the shipped prompts.
        reranker: Chooses the passages.
        candidates: Passages that it chooses from, where they are more than `top_k`.
    """

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        planner: SearchPlanner | None = None,
        extractor: Extractor | None = None,
        top_k: int = 5,
        sampling: Sampling = Sampling(max_tokens=128),
        prompts: Path | None = None,
        reranker: Reranker | None = None,
        candidates: int = 50,
    ) -> None:
        super().__init__(
            retriever,
            llm,
            top_k=top_k,
            sampling=sampling,
            prompts=prompts,
            reranker=reranker,
            candidates=candidates,
        )
        self.planner = planner or SearchPlanner(prompts=prompts)
        self.extractor = extractor
        self.closed_book = load_template("closed_book", prompts)

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Plan, search, fuse, rerank, extract, read, cite."""
        plan = await Limited(self.planner.program(question), half(await Remaining()))
        await _state(plan.notes)
        if not plan.search:
            return await self._by_itself(question)
        steps = await self._search(plan, where)
        found = reciprocal_rank_fusion([step.hits for step in steps])[: self.wanted]
        if not found:
            notes = ("the search found nothing",)
            return Answer(NOTHING_FOUND, supported=False, notes=notes, steps=steps)
        ranking = await self.chosen(question, found)
        await _state(ranking.shortfalls)
        hits = await self._extracted(question, ranking.hits)
        return replace(await self.read(question, hits), steps=steps)

    async def _by_itself(self, question: str) -> Answer:
        """Answer without a search."""
        prompt = self.closed_book.render(question, ())
        try:
            reply = await Generate(prompt, self.sampling, stage="answer")
        except BudgetExhausted as error:
            return Answer("", supported=False, notes=(f"neither a search nor an answer: {error}",))
        if reply.finish == "length":
            await Note(f"the reply was cut at {self.sampling.max_tokens} tokens")
        return Answer(reply.text.strip(), supported=False, notes=(UNSEARCHED,))

    async def _search(self, plan: SearchPlan, where: Where | None) -> tuple[Step, ...]:
        """Search within the plan's time range, and without one where nothing is that recent."""
        if plan.time_range and isinstance(self.retriever, DatedRetriever):
            recent = self.retriever.within(plan.time_range)
            steps = await self._search_for(plan.queries, where, recent)
            if any(step.hits for step in steps):
                return steps
            await Note(f"nothing of the last {plan.time_range} was found; any age was searched")
        elif plan.time_range:
            await Note(f"searched without the plan's time range, the last {plan.time_range}")
        return await self._search_for(plan.queries, where)

    async def _search_for(
        self, queries: Sequence[str], where: Where | None, retriever: Retriever | None = None
    ) -> tuple[Step, ...]:
        """Return what each query found, side by side; one that failed found nothing."""
        searches = [Search(query, self.wanted, where, retriever) for query in queries]
        found = await search_all(self.retriever.name, searches)
        return tuple(
            Step(query, hits=tuple(hits or ())) for query, hits in zip(queries, found, strict=True)
        )

    async def _extracted(self, question: str, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Return the sentences of passages that help, where there is an extractor."""
        if self.extractor is None:
            return hits
        program = self.extractor.program(question, hits)
        extraction = await Limited(program, half(await Remaining()))
        await _state(extraction.notes)
        if not extraction.hits:
            await Note("no sentence was found to help; the passages are read as they are")
        return extraction.hits or hits


async def _state(notes: Iterable[str]) -> None:
    for note in notes:
        await Note(note)

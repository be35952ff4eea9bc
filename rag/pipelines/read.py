"""Retrieve and read: one search, one prompt, one reply, checked citations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rag.core.answers import Answer
from rag.core.budgets import Allowance, Budget
from rag.core.errors import BudgetExhausted
from rag.core.filters import Where
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.operations import Generate, Limited, Remaining
from rag.core.protocols import LLM, Retriever
from rag.core.rankings import Ranking
from rag.core.search_operations import Search
from rag.core.templates import load_template
from rag.pipelines.base import Pipeline
from rag.pipelines.citations import cite
from rag.pipelines.extractive import NOTHING_FOUND, extract, unread
from rag.pipelines.fitting import contexts_that_fit
from rag.rerankers.base import Reranker

NOT_ANSWERED = "The documents do not answer this."
_REFUSAL = "not in the documents"


class RetrieveAndRead(Pipeline):
    """Searches, has a model read what was found, and checks what it says against the text.

    With a reranker, more passages are found than are read, and it says which are read. What it did
    not do as it should is in the answer's notes. It may use half of a budget, so that something is
    left to read with.

    Passages that do not fit the model's window or the budget are left out, worst first, and the
    answer's notes say so. Where not even one fits, or the budget allows no call, the answer is
    extractive. Sentences of the reply that nothing in the passages supports are left out of the
    answer and kept in its notes; if none is left, the answer is extractive too, or says that the
    documents do not answer.

    Args:
        retriever: Where to look.
        llm: The model that reads.
        top_k: Passages to read.
        sampling: How the model writes.
        prompts: A folder whose `read.toml` replaces the shipped prompt.
        reranker: Chooses the passages to read.
        candidates: Passages that it chooses from, where they are more than `top_k`.
    """

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        top_k: int = 5,
        sampling: Sampling = Sampling(max_tokens=128),
        prompts: Path | None = None,
        reranker: Reranker | None = None,
        candidates: int = 50,
    ) -> None:
        super().__init__(retriever, llm)
        self.top_k = top_k
        self.sampling = sampling
        self.template = load_template("read", prompts)
        self.reranker = reranker
        self.candidates = candidates

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search, rerank, fit, read, cite."""
        hits = await Search(question, self.wanted, where)
        if not hits:
            return Answer(NOTHING_FOUND, supported=False, notes=("the search found nothing",))
        ranking = await self.chosen(question, hits)
        return await self.read(question, ranking.hits, ranking.shortfalls)

    @property
    def wanted(self) -> int:
        """Passages to search for."""
        return self.top_k if self.reranker is None else max(self.top_k, self.candidates)

    async def chosen(self, question: str, hits: Sequence[Hit]) -> Ranking:
        """Return the passages to read, best first, out of those that were found."""
        if self.reranker is None:
            return Ranking(tuple(hits[: self.top_k]))
        program = self.reranker.program(question, hits, self.top_k)
        ranking: Ranking = await Limited(program, half(await Remaining()))
        return ranking

    async def read(self, question: str, hits: Sequence[Hit], notes: Sequence[str] = ()) -> Answer:
        """Answer from passages: fit, read, cite.

        Args:
            question: The question.
            hits: The passages, best first; at least one.
            notes: What fell short on the way to them.
        """
        notes = list(notes)

        def render(count: int) -> Prompt:
            return self.template.render(question, hits[:count])

        shown = await contexts_that_fit(render, len(hits), self.sampling)
        if shown == 0:
            reason = "not even one passage fits the model or the budget"
            return unread(question, hits, reason, notes)
        try:
            reply = await Generate(render(shown), self.sampling, stage="read")
        except BudgetExhausted as error:
            return unread(question, hits, str(error), notes)
        if shown < len(hits):
            notes.append(f"passages left out for lack of room: {len(hits) - shown} of {len(hits)}")
        if reply.finish == "length":
            notes.append(f"the reply was cut at {self.sampling.max_tokens} tokens")
        numbered = "{number}" in self.template.context
        return _answer(question, reply, hits[:shown], notes, numbered=numbered)


def half(left: Allowance) -> Budget:
    """Return half of what is left: something to read with stays."""
    return Budget(
        None if left.tokens is None else left.tokens // 2,
        None if left.calls is None else left.calls // 2,
        None if left.seconds is None else left.seconds / 2,
        None if left.cost is None else left.cost / 2,
    )


def _answer(
    question: str, reply: Reply, hits: Sequence[Hit], notes: list[str], *, numbered: bool
) -> Answer:
    if _REFUSAL in reply.text.lower():
        return Answer(NOT_ANSWERED, supported=False, hits=tuple(hits), notes=tuple(notes))
    cited = cite(reply.text, question, hits, numbered=numbered)
    notes = [*notes, *cited.notes]
    if cited.unsupported:
        said = " ".join(cited.unsupported)
        notes.append(f"left out of the model's reply for lack of support: {said!r}")
    if cited.citations:
        return Answer(cited.text, cited.citations, hits=tuple(hits), notes=tuple(notes))
    quoted = extract(question, hits)
    if quoted.supported:
        return replace(quoted, notes=(*notes, "sentences of the documents are quoted instead"))
    return Answer(NOT_ANSWERED, supported=False, hits=tuple(hits), notes=tuple(notes))

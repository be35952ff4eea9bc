"""Retrieve and read: one search, one prompt, one reply, checked citations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rag.core.answers import Answer
from rag.core.errors import BudgetExhausted
from rag.core.filters import Where
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.operations import Generate, Search
from rag.core.protocols import LLM, Retriever
from rag.pipelines.base import Pipeline
from rag.pipelines.citations import cite
from rag.pipelines.extractive import NOTHING_FOUND, extract
from rag.pipelines.fitting import passages_that_fit
from rag.pipelines.templates import load_template

NOT_ANSWERED = "The documents do not answer this."
_REFUSAL = "not in the documents"


class RetrieveAndRead(Pipeline):
    """Searches, has a model read what was found, and checks what it says against the text.

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
    """

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        top_k: int = 5,
        sampling: Sampling = Sampling(max_tokens=128),
        prompts: Path | None = None,
    ) -> None:
        super().__init__(retriever, llm)
        self.top_k = top_k
        self.sampling = sampling
        self.template = load_template("read", prompts)

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search, fit, read, cite."""
        hits = await Search(question, self.top_k, where)
        if not hits:
            return Answer(NOTHING_FOUND, supported=False, notes=("the search found nothing",))

        def render(count: int) -> Prompt:
            return self.template.render(question, hits[:count])

        shown = await passages_that_fit(render, len(hits), self.sampling)
        if shown == 0:
            return _unread(question, hits, "not even one passage fits the model or the budget")
        try:
            reply = await Generate(render(shown), self.sampling, stage="read")
        except BudgetExhausted as error:
            return _unread(question, hits, str(error))
        notes = []
        if shown < len(hits):
            notes.append(f"passages left out for lack of room: {len(hits) - shown} of {len(hits)}")
        if reply.finish == "length":
            notes.append(f"the reply was cut at {self.sampling.max_tokens} tokens")
        return _answer(question, reply, hits[:shown], notes)


def _unread(question: str, hits: Sequence[Hit], reason: str) -> Answer:
    answer = extract(question, hits)
    return replace(answer, notes=(f"no model read the passages: {reason}",))


def _answer(question: str, reply: Reply, hits: Sequence[Hit], notes: list[str]) -> Answer:
    if _REFUSAL in reply.text.lower():
        return Answer(NOT_ANSWERED, supported=False, hits=tuple(hits), notes=tuple(notes))
    cited = cite(reply.text, question, hits)
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

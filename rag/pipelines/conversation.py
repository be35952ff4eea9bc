"""Conversations: a follow-up becomes a question that stands by itself, and is answered as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from rag.core.answers import Answer
from rag.core.documents import Passage
from rag.core.errors import BudgetExhausted, CallFailed, ContextOverflow
from rag.core.filters import Where
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.operations import Generate, Limited, Note, Program, Remaining
from rag.core.protocols import LLM
from rag.core.templates import load_template
from rag.pipelines.base import Pipeline
from rag.pipelines.fitting import contexts_that_fit
from rag.pipelines.read import half
from rag.pipelines.support import content_stems

_SAMPLING = Sampling(max_tokens=96, stop=("\n",))
_LATEST = 6
"""Turns that are read at most: what a follow-up speaks of was said lately."""
_LONGEST = 600
"""Characters that are read of a question, or of an answer."""
_ROOM = 200
"""Characters by which a question may grow."""
_ENOUGH = 0.5
"""Share of the question's words that must stay, and of the added ones that must have been said."""
_LABEL = re.compile(r"^(?:rewritten )?question:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Turn:
    """A question that was asked before, and what was answered.

    Args:
        question: The question.
        answer: The answer; '' where there was none.
    """

    question: str
    answer: str = ""


class Conversation(Pipeline):
    """Words a follow-up so that it stands by itself, and has another pipeline answer it.

    A model rewrites the question in one call, from the latest turns that fit, and may use half of
    a budget. The answer's notes say what was asked. Where the model wrote nothing that can be
    asked, no call is left or it fails, the question is asked as it stands, and the notes say why.
    Without turns, this is the other pipeline.

    Args:
        pipeline: Answers the question.
        turns: What was said before, the latest last. A pipeline that searches the web sends there
            what the rewritten question says; leave out answers that must not get there.
        llm: The model that rewrites; None for none, so that every question is asked as it stands.
        prompts: A folder whose `standalone_question.toml` replaces the shipped prompt.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        turns: Sequence[Turn],
        llm: LLM | None,
        *,
        prompts: Path | None = None,
    ) -> None:
        super().__init__(pipeline.retriever, pipeline.llm)
        self.budget = pipeline.budget
        self.pipeline = pipeline
        self.turns = tuple(turns)
        self.rewriter = llm
        self.template = load_template("standalone_question", prompts)

    def program(self, question: str, where: Where | None = None) -> Program[Answer]:
        """Return the other pipeline's program, after one that rewrites where there are turns."""
        if not self.turns:
            return self.pipeline.program(question, where)
        return self._rewritten_first(question, where)

    async def _rewritten_first(self, question: str, where: Where | None) -> Answer:
        return await self.pipeline.program(await self._standing_alone(question), where)

    async def _standing_alone(self, question: str) -> str:
        """Return the rewritten question, or the question; a note says which."""
        if self.rewriter is None:
            return await _as_it_stands(question, "there is no model to rewrite it")
        try:
            reply = await Limited(self._rewrite(question, self.rewriter), half(await Remaining()))
        except (BudgetExhausted, CallFailed, ContextOverflow) as error:
            return await _as_it_stands(question, str(error))
        if problem := self._problem(reply, question):
            return await _as_it_stands(question, problem)
        rewritten = _line(reply)
        if rewritten != question:
            await Note(f"asked as: {rewritten}")
        return rewritten

    def _problem(self, reply: Reply, question: str) -> str:
        """Say why a reply cannot be asked in place of a question; '' where it can."""
        text = _line(reply)
        asked, rewritten = content_stems(question), content_stems(text)
        said = content_stems("\n".join(f"{each.question} {each.answer}" for each in self.turns))
        added = rewritten - asked
        if not any(map(str.isalnum, text)):
            return "the model wrote no question"
        if reply.finish == "length" or len(text) > len(question) + _ROOM:
            return "the model wrote more than a question"
        if len(asked & rewritten) < _ENOUGH * len(asked):
            return f"the model wrote {text!r}, which asks something else"
        if len(added & said) < _ENOUGH * len(added):
            return f"the model wrote {text!r}, of which nothing was said"
        return ""

    async def _rewrite(self, question: str, llm: LLM) -> Reply:
        """Have a model rewrite, from as many of the latest turns as fit."""
        said = [_said(turn) for turn in self.turns[: -_LATEST - 1 : -1]]

        def render(count: int) -> Prompt:
            return self.template.render(question, said[:count])

        # Where not even one fits, the call is refused, which says by how much.
        fits = await contexts_that_fit(render, len(said), _SAMPLING, llm=llm)
        return await Generate(render(max(1, fits)), _SAMPLING, llm, stage="rewrite")


async def _as_it_stands(question: str, reason: str) -> str:
    await Note(f"asked as it stands, without what was said before: {reason}")
    return question


def _said(turn: Turn) -> Hit:
    """Return a turn as a passage, so that it is fenced as one."""
    lines = [f"Question: {shorten(turn.question, _LONGEST)}"]
    if turn.answer:
        lines.append(f"Answer: {shorten(turn.answer, _LONGEST)}")
    text = "\n".join(lines)
    return Hit(Passage("", "", text, 0, len(text)), 0.0)


def _line(reply: Reply) -> str:
    """Return the question that a reply states."""
    return _LABEL.sub("", " ".join(reply.text.split())).strip("\"'“”")

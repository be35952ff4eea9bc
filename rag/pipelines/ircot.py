"""IRCoT: retrieval interleaved with sentences of reasoning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rag.core.allocations import Allocation
from rag.core.answers import Answer, Step
from rag.core.errors import BudgetExhausted, ContextOverflow
from rag.core.filters import Where
from rag.core.generation import Prompt, Sampling
from rag.core.hits import Hit
from rag.core.operations import Generate
from rag.core.protocols import LLM, Retriever
from rag.core.templates import Shot, load_template
from rag.core.worked_examples import WorkedExample, same_question
from rag.pipelines.base import Pipeline
from rag.pipelines.drag import DRAG, NO_ROOM, documents
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.fitting import two_calls_fit
from rag.pipelines.iter_drag import collected
from rag.text.sentences import sentence_spans

ENOUGH = 15
"""Passages that are collected at most, if one search brings no more."""
ANSWER = "So the answer is:"

_ANSWERED = re.compile(r"\banswer is\b", re.IGNORECASE)
# Initials and titles end no sentence, and a question goes with its answer.
_GOES_ON = re.compile(
    r"(?:\b\w|\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Lt|Col|Gen|Capt|Sgt|Rev|Gov|Sen|Rep|Mt|Ft|No|vs"
    r"|Inc|Ltd|Co|Corp))\.$|\?$"
)


@dataclass(slots=True)
class _Work:
    """What is known of a question so far.

    Args:
        question: The question.
        chosen: Worked examples.
        hits: Passages, those that were found last first.
        steps: Sentences of reasoning, with what was found for them.
        notes: What fell short.
    """

    question: str
    chosen: tuple[WorkedExample, ...] = ()
    hits: tuple[Hit, ...] = ()
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class IRCoT(Pipeline):
    """Reasons sentence by sentence, searches for each sentence, then reads what was collected.

    The method of arXiv 2212.10509, section 3. It starts with k passages for the question. The model
    writes a sentence of reasoning; k passages for that sentence join those that are there; and so
    on, until a sentence holds "answer is", n sentences are written, or 15 passages are collected.
    Then a call of its own answers from the passages, as `DRAG` does; the reasoning is not shown to
    it.

    A passage comes once, and new ones come nearest the question, so that what comes before them is
    computed once. An empty sentence or one that repeats another ends the reasoning, as does a
    budget or a window that has no room for the next sentence and an answer after it.

    Args:
        retriever: Where to look.
        llm: The model that reads.
        allocation: Passages a search, worked examples, and sentences of reasoning at most.
        examples: Where worked examples come from, those with steps; a sequence is used from its
            start. The reasoning of each is its steps, one a line, a sub-question with its answer.
        sampling: How the model writes a sentence.
        prompts: A folder whose `reasoning_step.toml` and `short_answer.toml` replace the shipped
            prompts.

    Attributes:
        templates: The prompts that it uses.
    """

    strategy = "IRCoT"
    stepwise = True
    """Whether worked examples need steps."""

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        allocation: Allocation = Allocation(4, 0, 5),
        examples: ExamplePool | Sequence[WorkedExample] = (),
        sampling: Sampling = Sampling(max_tokens=64, stop=("\n",)),
        prompts: Path | None = None,
    ) -> None:
        super().__init__(retriever, llm)
        self.allocation = allocation
        pool = examples if isinstance(examples, ExamplePool) else ExamplePool(examples)
        self.examples = pool.with_steps()
        self.sampling = sampling
        self.template = load_template("reasoning_step", prompts)
        self.reader = DRAG(
            retriever, llm, allocation=allocation, examples=self.examples, prompts=prompts
        )
        self.templates = (self.template, *self.reader.templates)
        self._continues = "reply_prefix" in llm.capabilities

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search and reason by turns, read."""
        work = _Work(question)
        try:
            await self._reason(work, where)
        except (BudgetExhausted, ContextOverflow) as error:
            work.notes.append(f"reasoning ended early {NO_ROOM}: {error}")
        answer = await self.reader.read(question, work.hits, work.chosen)
        return replace(answer, notes=(*work.notes, *answer.notes), steps=tuple(work.steps))

    async def _reason(self, work: _Work, where: Where | None) -> None:
        """Collect passages."""
        count = self.allocation.documents
        work.hits = await documents(work.question, count, where)
        work.chosen = await self.examples.program(work.question, self.allocation.examples)
        while count and len(work.hits) < ENOUGH and len(work.steps) < self.allocation.steps:
            prompt = self._prompt(work)
            if not await two_calls_fit(prompt, self.sampling):
                work.notes.append(f"reasoning ended early {NO_ROOM}")
                return
            reply = await Generate(prompt, self.sampling, stage="reason")
            sentence = first_sentence(reply.text)
            if problem := _problem(sentence, work):
                work.notes.append(problem)
                return
            if _ANSWERED.search(sentence):
                work.steps.append(Step(sentence))
                return
            found = await documents(sentence, count, where)
            work.steps.append(Step(sentence, hits=found))
            known = {hit.passage.id for hit in work.hits}
            new = [hit for hit in found if hit.passage.id not in known]
            work.hits = (*new[: ENOUGH - len(work.hits)], *work.hits)

    def _prompt(self, work: _Work) -> Prompt:
        """Return the prompt for the next sentence."""
        shots = [self._shot(each) for each in work.chosen]
        prompt = self.template.render(work.question, work.hits, shots=shots)
        written = _written(work.steps)
        if self._continues:
            return replace(prompt, reply_prefix=written)
        return replace(prompt, question=f"{prompt.question}\n\n{written}Write the next sentence.")

    def _shot(self, example: WorkedExample) -> Shot:
        hits = collected(example.hits, example.steps, self.allocation.documents)
        return Shot(example.question, f"{_written(example.steps)}{ANSWER} {example.answer}", hits)


def first_sentence(text: str) -> str:
    """Return the first sentence of a text, or the first line if that is shorter."""
    line = next((each for each in text.splitlines() if each.strip()), "").strip()
    ends = (end for _, end in sentence_spans(line) if not _GOES_ON.search(line[:end]))
    return line[: next(ends, len(line))]


def _written(steps: Sequence[Step]) -> str:
    """Return sentences, one a line."""
    return "".join(f"{each.question} {each.answer}".strip() + "\n" for each in steps)


def _problem(sentence: str, work: _Work) -> str:
    """Say why a sentence leads nowhere; '' where it does not."""
    if not sentence:
        return "the model wrote no sentence of reasoning"
    if any(same_question(sentence, each.question) for each in work.steps):
        return f"the model repeated a sentence: {sentence!r}"
    return ""

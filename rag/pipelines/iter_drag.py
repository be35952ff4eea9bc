"""IterDRAG: retrieval interleaved with sub-questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rag.core.allocations import Allocation
from rag.core.answers import Answer, Step
from rag.core.errors import BudgetExhausted, ContextOverflow
from rag.core.filters import Where
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.operations import Generate
from rag.core.protocols import LLM, Retriever
from rag.core.templates import Shot, load_template
from rag.core.worked_examples import WorkedExample, same_question
from rag.pipelines.base import Pipeline
from rag.pipelines.drag import NO_ROOM, documents, left_out, short_of
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.extractive import unread
from rag.pipelines.fitting import contexts_that_fit, two_calls_fit
from rag.pipelines.short_answers import confidence, generate_surely, short_answer

FOLLOW_UP = "Follow up:"
INTERMEDIATE = "Intermediate answer:"
FINAL = "So the final answer is:"

_LINE = re.compile(rf"({FOLLOW_UP}|{INTERMEDIATE}|{FINAL})\s*(.*)", re.IGNORECASE)


@dataclass(slots=True)
class _Work:
    """What is known of a question so far.

    Args:
        question: The question.
        shots: Worked examples to show.
        hits: Passages to show, those that were found last first.
        found: Passages that were found, for want of a model that reads them.
        steps: Sub-questions with their answers.
        asked: A sub-question that has no answer yet.
        notes: What fell short.
    """

    question: str
    shots: Sequence[Shot] = ()
    hits: tuple[Hit, ...] = ()
    found: tuple[Hit, ...] = ()
    steps: list[Step] = field(default_factory=list)
    asked: str = ""
    notes: list[str] = field(default_factory=list)


class IterDRAG(Pipeline):
    """Asks up to n sub-questions, searches for each, and answers in a few words.

    The method of arXiv 2410.04343, section 3.3. Every line that the model writes begins with
    `Follow up:`, `Intermediate answer:` or `So the final answer is:`; which of them may come next
    is fixed: a sub-question is searched for and answered, then another one or the final answer
    follows, and after n sub-questions only the final answer can. A backend without the capability
    'starts_with' is asked in words, and a line of its that begins otherwise ends the sub-questions.

    What the paper leaves open is decided so: a sub-question brings k passages; a passage comes
    once; new passages come after the earlier ones, nearest the question, so that what comes before
    them is computed once; a sub-question that repeats one ends them.

    Before every call, what it and a final answer after it will read has to be left of the budget
    and the window; else fewer passages are read, or the final answer is asked for at once. What was
    left out is in the answer's notes.

    Args:
        retriever: Where to look.
        llm: The model that reads.
        allocation: Passages a search, worked examples, and sub-questions at most.
        examples: Where worked examples come from, those with steps; a sequence is used from its
            start. Each is shown with the passages of its question and of its steps.
        sampling: How the model writes a line.
        prompts: A folder whose `follow_up.toml` replaces the shipped prompt.

    Attributes:
        templates: The prompts that it uses.
    """

    strategy = "IterDRAG"
    stepwise = True
    """Whether worked examples need steps."""
    keeps_passages = True
    """Whether passages stay when others are found, and the question itself is searched for."""

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        allocation: Allocation = Allocation(5, 0, 5),
        examples: ExamplePool | Sequence[WorkedExample] = (),
        sampling: Sampling = Sampling(max_tokens=48, stop=("\n",)),
        prompts: Path | None = None,
    ) -> None:
        super().__init__(retriever, llm)
        self.allocation = allocation
        pool = examples if isinstance(examples, ExamplePool) else ExamplePool(examples)
        self.examples = pool.with_steps()
        self.sampling = sampling
        self.template = load_template("follow_up", prompts)
        self.templates = (self.template,)
        self._continues = "reply_prefix" in llm.capabilities
        self._constrained = "starts_with" in llm.capabilities

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search, ask and answer sub-questions, answer."""
        work = _Work(question)
        try:
            await self._start(work, where)
            for _ in range(self.allocation.steps):
                if not await two_calls_fit(self._prompt(work), self.sampling):
                    work.notes.append(f"sub-questions ended early {NO_ROOM}")
                    break
                reply = await self._decide(work)
                kind, text = _parsed(reply.text)
                if kind == FINAL:
                    return _answer(work, text, confidence(reply, after=FINAL))
                if problem := _problem(kind, text, work):
                    work.notes.append(problem)
                    break
                if not await self._follow(work, text, where):
                    work.notes.append(f"a sub-question left unanswered {NO_ROOM}: {text!r}")
                    break
        except (BudgetExhausted, ContextOverflow) as error:
            work.notes.append(f"sub-questions ended early {NO_ROOM}: {error}")
        return await self._finish(work)

    async def _start(self, work: _Work, where: Where | None) -> None:
        """Find passages and worked examples for the question, and leave out what does not fit."""
        count = self.allocation.documents if self.keeps_passages else 0
        work.found = await documents(work.question, count, where)
        chosen = await self.examples.program(work.question, self.allocation.examples)
        work.notes += short_of(replace(self.allocation, documents=count), work.found, chosen)
        shots = [self._shot(each) for each in chosen]
        # Where no room is for a sub-question, all of it is for the final answer.
        shown = await self._fit(work, work.found, shots, calls=2) or await self._fit(
            work, work.found, shots, FINAL, calls=1
        )
        work.notes += left_out(len(work.found), len(shots), shown)

    async def _fit(
        self,
        work: _Work,
        hits: tuple[Hit, ...],
        shots: Sequence[Shot],
        marker: str = "",
        *,
        calls: int,
    ) -> int:
        """Show as many contexts as fit, passages before examples, and return their number."""

        def render(contexts: int) -> Prompt:
            work.hits = hits[:contexts]
            work.shots = self.examples.kept(shots, contexts - len(hits))
            return self._prompt(work, marker)

        shown = await contexts_that_fit(render, len(hits) + len(shots), self.sampling, calls=calls)
        render(shown)
        return shown

    def _shot(self, example: WorkedExample) -> Shot:
        own = example.hits if self.keeps_passages else ()
        hits = collected(own, example.steps, self.allocation.documents)
        return Shot(example.question, _written(example.steps) + f"{FINAL} {example.answer}", hits)

    def _prompt(self, work: _Work, marker: str = "") -> Prompt:
        """Return the prompt for the next line.

        Args:
            work: What is known.
            marker: How the line has to begin; '' leaves it open.
        """
        prompt = self.template.render(work.question, work.hits, shots=work.shots)
        written = _written(work.steps)
        if work.asked:
            written += f"{FOLLOW_UP} {work.asked}\n"
        if self._continues:
            return replace(prompt, reply_prefix=written + marker)
        order = f"Go on with one line that begins with '{marker}'" if marker else "Write one line"
        return replace(prompt, question=f"{prompt.question}\n\n{written}\n{order}.")

    async def _decide(self, work: _Work) -> Reply:
        starts = (FOLLOW_UP, FINAL) if self._constrained else ()
        sampling = replace(self.sampling, starts_with=starts)
        return await generate_surely(self._prompt(work), sampling, "step")

    async def _follow(self, work: _Work, question: str, where: Where | None) -> bool:
        """Search for a sub-question and have it answered; return whether there was room for it."""
        found = await documents(question, self.allocation.documents, where)
        before = work.hits if self.keeps_passages else ()
        work.found = merged(found, work.found)
        work.asked = question

        def render(count: int) -> Prompt:
            work.hits = merged(found[:count], before)
            return self._prompt(work, INTERMEDIATE)

        shown = await contexts_that_fit(render, len(found), self.sampling, calls=2)
        prompt = render(shown)
        if shown < len(found):
            work.notes.append(f"passages left out {NO_ROOM}: {len(found) - shown}")
        if not await two_calls_fit(prompt, self.sampling):
            return False
        reply = await Generate(prompt, self.sampling, stage="intermediate")
        _, text = _parsed(reply.text)
        work.asked = ""
        work.steps.append(Step(question, text, found[:shown]))
        return True

    async def _finish(self, work: _Work) -> Answer:
        """Force the final answer, from as many contexts as there is room for."""
        work.asked = ""
        hits, shots = work.hits, work.shots
        try:
            shown = await self._fit(work, hits, shots, FINAL, calls=1)
            work.notes += left_out(len(hits), len(shots), shown)
            reply = await generate_surely(self._prompt(work, FINAL), self.sampling, "final")
        except (BudgetExhausted, ContextOverflow) as error:
            answer = unread(work.question, work.found, str(error), work.notes)
            return replace(answer, steps=tuple(work.steps))
        kind, text = _parsed(reply.text)
        if kind not in ("", FINAL):
            work.notes.append(f"asked for the final answer, the model wrote {reply.text!r}")
        return _answer(work, text, confidence(reply, after=kind))


def merged(found: Sequence[Hit], before: Sequence[Hit]) -> tuple[Hit, ...]:
    """Put new passages before the known ones, which keep their place in the prompt."""
    known = {hit.passage.id for hit in before}
    return (*(hit for hit in found if hit.passage.id not in known), *before)


def collected(own: Sequence[Hit], steps: Sequence[Step], count: int) -> tuple[Hit, ...]:
    """Return the passages of a worked example as its pipeline would have shown them at the end.

    Args:
        own: What was found for its question, best first.
        steps: Its steps, with what was found for each.
        count: Passages that a search adds.
    """
    hits = tuple(own[:count])
    for step in steps:
        hits = merged(step.hits[:count], hits)
    return hits


def _written(steps: Sequence[Step]) -> str:
    """Return the lines of sub-questions and their answers."""
    return "".join(f"{FOLLOW_UP} {each.question}\n{INTERMEDIATE} {each.answer}\n" for each in steps)


def _parsed(line: str) -> tuple[str, str]:
    """Return which of the three beginnings a line has, '' for none, and the rest of it."""
    for each in line.splitlines():
        if match := _LINE.match(each.strip()):
            kinds = {kind.lower(): kind for kind in (FOLLOW_UP, INTERMEDIATE, FINAL)}
            return kinds[match[1].lower()], match[2].strip()
    return "", " ".join(line.split())


def _problem(kind: str, text: str, work: _Work) -> str:
    """Say why a line is no sub-question to follow; '' where it is one."""
    if kind != FOLLOW_UP:
        return f"the model asked no sub-question but wrote {text!r}"
    if not text:
        return "the model asked an empty sub-question"
    if any(same_question(text, each.question) for each in work.steps):
        return f"the model repeated a sub-question: {text!r}"
    return ""


def _answer(work: _Work, text: str, sure: float | None) -> Answer:
    return short_answer(
        work.question, text, work.hits, notes=work.notes, steps=work.steps, confidence=sure
    )

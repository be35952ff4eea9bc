"""What few-shot answering asks a model about one paragraph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from rag.core.budgets import Reservation
from rag.core.generation import ContinuationScore, Sampling
from rag.core.hits import Hit
from rag.core.operations import CountTokens, Generate, Remaining, Score, together
from rag.core.templates import Shot, Template
from rag.core.worked_examples import WorkedExample
from rag.pipelines.answer_scoring import Factor
from rag.pipelines.fitting import contexts_that_fit
from rag.pipelines.paragraphs import best_paragraphs


@dataclass(frozen=True, slots=True)
class ParagraphPrompts:
    """What is asked about each paragraph of a question.

    Args:
        question: The question.
        templates: The prompt of each factor that is asked for, p(a | q, p) among them.
        sampling: How answers are drawn from a paragraph.
        shots: Worked examples, each with the one paragraph that is shown with it.
    """

    question: str
    templates: Mapping[Factor, Template]
    sampling: Sampling
    shots: Sequence[WorkedExample] = ()

    def draw(self, paragraph: Hit) -> Generate:
        """Return the call that draws answers."""
        prompt = self.score("answer_given_question", paragraph).prompt
        return Generate(prompt, self.sampling, stage="draw")

    def score(self, factor: Factor, paragraph: Hit, answer: str = "") -> Score:
        """Return the call that asks how likely an answer, or the question, is."""
        given, reply = _given_and_reply(factor, self.question, answer)
        shots = [
            Shot(*_given_and_reply(factor, each.question, each.answer), each.hits)
            for each in self.shots
        ]
        prompt = self.templates[factor].render(given, [paragraph], shots=shots)
        return Score(prompt, f" {reply}", stage="score")

    async def likelihoods(
        self, paragraph: Hit, answers: Sequence[str]
    ) -> list[dict[Factor, ContinuationScore]]:
        """Return the scores of each answer, by factor; what they share is asked once."""
        if not answers:
            return []
        shared, *own = await together(
            self._scores(self._shared, paragraph, ""),
            *(self._scores(self._own, paragraph, answer) for answer in answers),
        )
        return [shared | each for each in own]

    async def _scores(
        self, factors: Sequence[Factor], paragraph: Hit, answer: str
    ) -> dict[Factor, ContinuationScore]:
        scores = await together(*(self.score(each, paragraph, answer) for each in factors))
        return dict(zip(factors, scores, strict=True))

    @property
    def _shared(self) -> list[Factor]:
        """The factors in which no answer occurs: p(q | p)."""
        return [each for each in self.templates if each == "question"]

    @property
    def _own(self) -> list[Factor]:
        return [each for each in self.templates if each != "question"]

    async def fitting(self, paragraphs: Sequence[Hit]) -> list[Hit]:
        """Return the paragraphs of which the window and the budget can hold one, at least bare."""
        bare = replace(self, shots=())

        async def fits(paragraph: Hit) -> bool:
            prompt = bare.draw(paragraph).prompt
            return await contexts_that_fit(lambda _: prompt, 1, self.sampling) > 0

        kept = await together(*map(fits, paragraphs))
        return list(compress(paragraphs, kept))

    async def most(self, paragraph: Hit) -> Reservation:
        """Return the most that a paragraph takes: every answer another one, none cut short."""
        asked = [self.draw(paragraph).prompt]
        asked += [self.score(each, paragraph).whole_prompt for each in (*self._shared, *self._own)]
        counts = await together(*map(CountTokens, asked))
        once = counts[: 1 + len(self._shared)]
        own = [count + self.sampling.max_tokens for count in counts[len(once) :]]
        samples = self.sampling.n
        return Reservation(sum(once) + samples * sum(own), len(once) + samples * len(own))

    async def affordable(self, paragraphs: Sequence[Hit]) -> int:
        """Return how many paragraphs, from the first, can be read and scored side by side.

        That is as many as what is left of the budget is sure to do. What calls take of seconds and
        money is not known before; under a budget of those it is one, so that it is scored before
        the next one is read.
        """
        left = await Remaining()
        if left.seconds is not None or left.cost is not None:
            paragraphs = paragraphs[:1]
        if left.tokens is None and left.calls is None:
            return len(paragraphs)
        tokens = calls = 0
        for count, paragraph in enumerate(paragraphs):
            most = await self.most(paragraph)
            tokens, calls = tokens + most.tokens, calls + most.calls
            if _exceeds(tokens, left.tokens) or _exceeds(calls, left.calls):
                return count
        return len(paragraphs)


def with_evidence(examples: Sequence[WorkedExample]) -> list[WorkedExample]:
    """Return examples with one paragraph each: the best that states the answer, or else the best.

    Those for which nothing was found are left out: they would teach to answer from nothing.
    """
    shown = []
    for example in examples:
        found = best_paragraphs(example.question, example.hits)
        answer = example.answer.casefold()
        stating = [each for each in found if answer in each.passage.text.casefold()]
        if found:
            best = (stating or found)[0]
            shown.append(WorkedExample(example.question, example.answer, (best,)))
    return shown


def _exceeds(needed: int, left: int | None) -> bool:
    return left is not None and needed > left


def _given_and_reply(factor: Factor, question: str, answer: str) -> tuple[str, str]:
    """Return what a prompt gives beside the evidence, and what the reply to it is."""
    match factor:
        case "answer_given_question":
            return question, answer
        case "question_given_answer":
            return answer, question
        case "answer":
            return "", answer
        case "question":
            return "", question

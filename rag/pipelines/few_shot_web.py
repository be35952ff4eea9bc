"""Few-shot internet-augmented answering: many paragraphs, several answers each, the best scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from math import exp, isnan, nan
from pathlib import Path
from typing import get_args

from rag.core.answers import Answer, Step
from rag.core.capabilities import refuse_unsupported
from rag.core.errors import BudgetExhausted, ContextOverflow, InputError
from rag.core.filters import Where
from rag.core.generation import ContinuationScore, Prompt, Sampling
from rag.core.hits import Hit
from rag.core.operations import together
from rag.core.protocols import LLM, Retriever
from rag.core.search_operations import Search
from rag.core.templates import load_template
from rag.core.worked_examples import WorkedExample
from rag.pipelines.answer_scoring import (
    FACTORS,
    Candidate,
    Factor,
    ScoredCandidate,
    Scorer,
    answer_key,
    score_candidates,
)
from rag.pipelines.base import Pipeline
from rag.pipelines.drag import NO_ROOM
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.extractive import NOTHING_FOUND, unread
from rag.pipelines.few_shot_prompts import ParagraphPrompts, with_evidence
from rag.pipelines.fitting import contexts_that_fit
from rag.pipelines.paragraphs import best_paragraphs
from rag.pipelines.short_answers import short_answer
from rag.rerankers.likelihood import LikelihoodFactors, mean_logprob


class FewShotWeb(Pipeline):
    """Answers in a few words: draws answers from each of many paragraphs, and takes the best.

    The method of arXiv 2203.05115, section 2, made for the web and fit for any retriever. What is
    found is cut into paragraphs of six sentences. The model reads one at a time, after worked
    examples, and several answers are drawn from each; then it says how likely it finds each
    answer, and the scorer makes one number of that.

    A question takes at most `paragraphs` * (1 + 3 * `samples`) calls; for 'noisy_channel' one more
    a paragraph, for 'direct' and 'rag' one a sample; answers drawn twice are scored once. Where a
    budget does not allow that, paragraphs are left out, worst first; where not even one can be
    read, first fewer answers are drawn, then fewer examples shown. The notes say so.

    The steps of an answer are the candidates, best first: each has the answer that was drawn and,
    as its hit, the paragraph with the candidate's score. The hit's `scores` are the parts of that.

    Args:
        retriever: Where to look, such as a `WebRetriever`; the question is the query as it stands.
        llm: The model that reads and scores.
        examples: Where worked examples come from; a sequence is used from its start. Of what was
            found for an example, the best paragraph that states its answer is shown; one for which
            nothing was found is not shown.
        top_k: Passages to search for.
        paragraphs: Paragraphs to read; 50 in the paper.
        samples: Answers to draw from each; 4 in the paper. A single one is greedy.
        shots: Worked examples to show, at most; 15 in the paper.
        scorer: How candidates are scored.
        per_token: Whether factors are means over the tokens of a text, or sums as in the paper. In
            sums a short answer gains by being short, in means one that repeats the question.
        sampling: How the model writes; `n`, and the temperature of a single answer, follow from
            `samples`.
        prompts: A folder whose `few_shot_*.toml` replace the shipped prompts.

    Attributes:
        templates: The prompts that it uses.

    Raises:
        InputError: A count is too small, there is no such scorer, or several answers are to be
            drawn at a temperature of 0.
        Unsupported: The model's backend cannot score, or not as asked.
    """

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        *,
        examples: ExamplePool | Sequence[WorkedExample] = (),
        top_k: int = 20,
        paragraphs: int = 10,
        samples: int = 4,
        shots: int = 5,
        scorer: Scorer = "poe",
        per_token: bool = True,
        sampling: Sampling = Sampling(max_tokens=32, temperature=0.7, stop=("\n",), seed=0),
        prompts: Path | None = None,
    ) -> None:
        super().__init__(retriever, llm)
        if min(top_k, paragraphs, samples, shots + 1) < 1:
            counts = f"top_k={top_k}, paragraphs={paragraphs}, samples={samples}, shots={shots}"
            raise InputError(f"{counts}: all have to be at least 1, shots at least 0")
        if scorer not in get_args(Scorer):
            raise InputError(f"no scorer {scorer!r}; there are {', '.join(get_args(Scorer))}")
        self.examples = examples if isinstance(examples, ExamplePool) else ExamplePool(examples)
        self.top_k = top_k
        self.paragraphs = paragraphs
        self.samples = samples
        self.shots = shots
        self.scorer = scorer
        self.per_token = per_token
        self.sampling = sampling
        self._templates = {
            factor: load_template(f"few_shot_{factor}", prompts) for factor in FACTORS[scorer]
        }
        self.templates = tuple(self._templates.values())
        begun = [Prompt("", reply_prefix=each.reply_prefix) for each in self.templates]
        refuse_unsupported(llm.name, llm.capabilities, "score", begun, self._sampling(samples))

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search, cut, draw answers, score them."""
        try:
            hits = await Search(question, self.top_k, where)
            examples = await self.examples.program(question, self.shots)
        except BudgetExhausted as error:
            return unread(question, (), str(error))
        found = best_paragraphs(question, hits, self.paragraphs)
        if not found:
            return Answer(NOTHING_FOUND, supported=False, notes=("the search found nothing",))
        whole = ParagraphPrompts(
            question, self._templates, self._sampling(self.samples), with_evidence(examples)
        )
        notes: list[str] = []
        fitting = await whole.fitting(found)
        prompts = await self._reduced(whole, fitting, notes) if fitting else None
        if prompts is None:
            return unread(question, hits, "not even one paragraph fits the model or the budget")
        read, candidates, problems = await self._read(prompts, fitting)
        notes += [*_left_out("paragraphs", len(read), len(found)), *problems[:1]]
        if not read:
            return unread(question, hits, "no paragraph could be read", notes)
        return _answer(question, read, score_candidates(self.scorer, candidates), notes)

    async def _reduced(
        self, whole: ParagraphPrompts, found: Sequence[Hit], notes: list[str]
    ) -> ParagraphPrompts | None:
        """Return what is asked of each paragraph, so much less that the best one can be read."""
        longest = max(found, key=lambda each: len(each.passage.text))

        def shots(count: int) -> Sequence[WorkedExample]:
            return self.examples.kept(whole.shots, count)

        def render(contexts: int) -> Prompt:
            return replace(whole, shots=shots(contexts - 1)).draw(longest).prompt

        contexts = await contexts_that_fit(render, 1 + len(whole.shots), whole.sampling)
        for samples, count in _efforts(self.samples, contexts - 1):
            prompts = replace(whole, sampling=self._sampling(samples), shots=shots(count))
            if await prompts.affordable(found[:1]):
                notes += _left_out("answers of each paragraph", samples, self.samples)
                notes += _left_out("worked examples", count, len(whole.shots))
                return prompts
        return None

    async def _read(
        self, prompts: ParagraphPrompts, found: Sequence[Hit]
    ) -> tuple[list[Hit], list[Candidate], list[str]]:
        """Return the paragraphs that were read, the candidates, and why others were not read.

        Under a budget they are read in rounds: as many side by side as are sure to be scored, then
        more with what those left over.
        """
        read: list[Hit] = []
        candidates: list[Candidate] = []
        problems: list[str] = []
        waiting = list(found)
        while waiting and (count := await prompts.affordable(waiting)):
            now, waiting = waiting[:count], waiting[count:]
            results = await together(*(self._candidates(prompts, each) for each in now))
            for paragraph, result in zip(now, results, strict=True):
                if isinstance(result, str):
                    problems.append(result)
                else:
                    read.append(paragraph)
                    candidates += result
        return read, candidates, problems

    async def _candidates(self, prompts: ParagraphPrompts, paragraph: Hit) -> list[Candidate] | str:
        """Draw answers from a paragraph and score them, or say why that cannot be done."""
        try:
            reply = await prompts.draw(paragraph)
            answers = _distinct(each.text for each in reply.samples)
            scores = await prompts.likelihoods(paragraph, answers)
        except (BudgetExhausted, ContextOverflow) as error:
            return str(error)
        return [
            self._candidate(answer, paragraph, each)
            for answer, each in zip(answers, scores, strict=True)
        ]

    def _candidate(
        self, answer: str, paragraph: Hit, scores: Mapping[Factor, ContinuationScore]
    ) -> Candidate:
        values = {
            factor: mean_logprob(score) if self.per_token else score.logprob
            for factor, score in scores.items()
        }
        factors = LikelihoodFactors(**dict.fromkeys(get_args(Factor), nan) | values)
        sure = exp(mean_logprob(scores["answer_given_question"]))
        return Candidate(answer, paragraph, factors, sure)

    def _sampling(self, samples: int) -> Sampling:
        temperature = self.sampling.temperature if samples > 1 else 0.0
        return replace(self.sampling, n=samples, temperature=temperature)


def _efforts(samples: int, shots: int) -> Iterator[tuple[int, int]]:
    """Yield numbers of answers and examples, from all there are to one answer and no example."""
    if shots >= 0:
        yield from ((fewer, shots) for fewer in range(samples, 0, -1))
        yield from ((1, fewer) for fewer in range(shots - 1, -1, -1))


def _left_out(what: str, there: int, wanted: int) -> list[str]:
    left_out = wanted - there
    return [f"{what} left out {NO_ROOM}: {left_out} of {wanted}"] if left_out else []


def _distinct(replies: Iterable[str]) -> list[str]:
    """Return the first line of each reply, once where they differ in case and punctuation only."""
    found: dict[str, str] = {}
    for reply in replies:
        answer = reply.strip().split("\n", 1)[0].strip()
        if answer:
            found.setdefault(answer_key(answer), answer)
    return list(found.values())


def _answer(
    question: str, read: Sequence[Hit], scored: Sequence[ScoredCandidate], notes: Sequence[str]
) -> Answer:
    """Return the best candidate as the answer, cited from its own paragraph."""
    if not scored:
        return short_answer(question, "", read, notes=notes)
    best = scored[0].candidate
    answer = short_answer(
        question,
        best.answer,
        [best.paragraph],
        notes=notes,
        steps=[_step(question, each) for each in scored],
        confidence=best.confidence,
    )
    return replace(answer, hits=tuple(read))


def _step(question: str, scored: ScoredCandidate) -> Step:
    """Return a candidate as a step: the paragraph with the candidate's score and its parts."""
    candidate = scored.candidate
    factors = {name: v for name, v in asdict(candidate.factors).items() if not isnan(v)}
    parts = {"retrieval": candidate.paragraph.score, **factors}
    hit = Hit(candidate.paragraph.passage, scored.score, parts)
    return Step(question, candidate.answer, (hit,))

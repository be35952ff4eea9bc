"""Which of several candidate answers is best, by how likely a model finds what belongs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rag.core.hits import Hit
from rag.rerankers.likelihood import (
    LikelihoodFactors,
    direct,
    noisy_channel,
    rag_sequence,
)

Scorer = Literal["direct", "rag", "noisy_channel", "poe"]
"""How candidates are scored, after arXiv 2203.05115, section 2:

- direct: p(a | q, p);
- rag: Σᵢ p(pᵢ | q) p(a | q, pᵢ);
- noisy_channel: p(q | a, p) p(a | p) / p(q | p);
- poe, a product of experts: p(p | q) p(a | q, p) p(q | a, p) p(a | p).

The product does not divide by p(q | p): that is least for a paragraph that has nothing to do with
the question, which would gain over the others by it.

The paper's sum goes over all paragraphs. Here it goes over those that the answer was drawn from,
so that no pair is scored but for the sum: where a model never writes an answer it finds it
unlikely, and the term is small.
"""

Factor = Literal["answer_given_question", "question_given_answer", "answer", "question"]
"""A field of `LikelihoodFactors`."""

_DIRECT: tuple[Factor, ...] = ("answer_given_question",)
_JOINT: tuple[Factor, ...] = (*_DIRECT, "question_given_answer", "answer")

FACTORS: Mapping[Scorer, tuple[Factor, ...]] = {
    "direct": _DIRECT,
    "rag": _DIRECT,
    "noisy_channel": (*_JOINT, "question"),
    "poe": _JOINT,
}
"""What each scorer asks for. All ask for p(a | q, p), which is the answer's confidence, too."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that a model wrote from a paragraph.

    Args:
        answer: The answer.
        paragraph: The paragraph; its score is p(p | q).
        factors: How likely the model finds the two; NaN for what was not asked.
        confidence: The geometric mean of the probabilities of the answer's tokens, given the
            question and the paragraph.
    """

    answer: str
    paragraph: Hit
    factors: LikelihoodFactors
    confidence: float


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate with its score.

    Args:
        candidate: The candidate.
        score: The logarithm of what the scorer says, up to a constant of the question.
    """

    candidate: Candidate
    score: float


def score_candidates(scorer: Scorer, candidates: Sequence[Candidate]) -> list[ScoredCandidate]:
    """Score candidates and return them, best first.

    Args:
        scorer: How.
        candidates: The candidates of one question; of a paragraph no answer comes twice.

    Returns:
        The candidates; of equal ones the one comes first whose paragraph weighs most, with the
        likelihood of the answer in it, and so for 'rag' the paragraph that says most.
    """
    scores = _sums(candidates) if scorer == "rag" else [_score(scorer, c) for c in candidates]
    scored = [ScoredCandidate(*pair) for pair in zip(candidates, scores, strict=True)]
    return sorted(scored, key=lambda each: (-each.score, -_term(each.candidate)))


def answer_key(answer: str) -> str:
    """Return what answers share that are the same but for case, punctuation and white space."""
    words = "".join(each if each.isalnum() else " " for each in answer.casefold()).split()
    return " ".join(words) or answer


def _score(scorer: Scorer, candidate: Candidate) -> float:
    match scorer:
        case "noisy_channel":
            return noisy_channel(candidate.factors)
        case "poe":
            factors = candidate.factors
            joint = factors.question_given_answer + factors.answer
            return _term(candidate) + joint
        case _:
            return direct(candidate.factors)


def _sums(candidates: Sequence[Candidate]) -> list[float]:
    """Return the sum over the paragraphs of each candidate's answer."""
    drawn: dict[str, list[Candidate]] = {}
    for each in candidates:
        drawn.setdefault(answer_key(each.answer), []).append(each)
    sums = {
        key: rag_sequence([c.factors for c in same], [c.paragraph.score for c in same])
        for key, same in drawn.items()
    }
    return [sums[answer_key(each.answer)] for each in candidates]


def _term(candidate: Candidate) -> float:
    return rag_sequence([candidate.factors], [candidate.paragraph.score])

"""How likely a model finds an answer with its passage, in four ways and their combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

from rag.core.errors import InputError
from rag.core.generation import ContinuationScore


@dataclass(frozen=True, slots=True)
class LikelihoodFactors:
    """Natural-log probabilities of an answer a and its question q with a passage p.

    Args:
        answer_given_question: log p(a | q, p).
        question_given_answer: log p(q | a, p).
        answer: log p(a | p).
        question: log p(q | p).
    """

    answer_given_question: float
    question_given_answer: float
    answer: float
    question: float


def direct(factors: LikelihoodFactors) -> float:
    """Return log p(a | q, p)."""
    return factors.answer_given_question


def rag_sequence(factors: Sequence[LikelihoodFactors], retrieval: Sequence[float]) -> float:
    """Return log Σᵢ p(pᵢ | q) p(a | q, pᵢ) (RAG, arXiv 2005.11401, section 2.1).

    Args:
        factors: Those of one answer with each passage.
        retrieval: The probability p(pᵢ | q) of each passage, such as a softmax of its score or its
            share of all scores.

    Raises:
        InputError: There are not as many probabilities as factors, or one is not from 0 to 1.
    """
    if len(factors) != len(retrieval):
        raise InputError(f"{len(factors)} passages but {len(retrieval)} retrieval probabilities")
    return log_sum(
        [_log(p) + each.answer_given_question for each, p in zip(factors, retrieval, strict=True)]
    )


def noisy_channel(factors: LikelihoodFactors) -> float:
    """Return log p(q | a, p) p(a | p) / p(q | p), which by Bayes' rule is log p(a | q, p)."""
    return factors.question_given_answer + factors.answer - factors.question


def mean_logprob(score: ContinuationScore) -> float:
    """Return the mean log-probability of a continuation's tokens; 0 where it has none."""
    return score.logprob / max(1, len(score.token_logprobs))


def log_sum(logs: Sequence[float]) -> float:
    """Return the log of the sum of the numbers whose logs are given; -inf for none."""
    highest = max(logs, default=-inf)
    if highest == -inf:
        return -inf
    return highest + log(sum(exp(each - highest) for each in logs))


def _log(probability: float) -> float:
    if not 0 <= probability <= 1:
        raise InputError(f"a retrieval probability is {probability}; it must be from 0 to 1")
    return log(probability) if probability else -inf

"""How likely a model finds an answer with its passage, in four ways and their combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

from rag.core.capabilities import refuse_unsupported
from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.core.generation import ContinuationScore, Prompt
from rag.core.operations import Score, together
from rag.core.protocols import LLM


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


async def likelihood_factors(
    question: str, answer: str, passage: Passage, llm: LLM, *, per_token: bool = True
) -> LikelihoodFactors:
    """Score an answer with the passage that it comes from; a program of four calls.

    Each prompt has the order evidence, question, answer, without what is not given; all begin with
    the evidence, which a backend that keeps beginnings reads once.

    Lazaridou et al. multiply probabilities of whole texts, with which a short answer wins by being
    short. Here each factor is the mean over its tokens unless asked for otherwise, so a factor
    weighs the same however long its text is, and Bayes' rule holds between factors no more.

    Source: arXiv 2203.05115, section 2.

    Args:
        question: The question.
        answer: A candidate for its answer.
        passage: The passage that the candidate was read from.
        llm: The model.
        per_token: Whether factors are means over tokens, or sums as in the paper.

    Raises:
        Unsupported: The model's backend cannot score a continuation of a reply that was begun.
    """
    begun = Prompt("", reply_prefix="Answer:")
    refuse_unsupported(llm.name, llm.capabilities, "score", [begun])
    evidence = f"Evidence: {passage.indexed_text}"
    asked, answered = f"Question: {question}", f"Answer: {answer}"

    def score(given: Sequence[str], label: str, text: str) -> Score:
        *contexts, last = given
        prompt = Prompt(last, contexts=tuple(contexts), reply_prefix=label)
        return Score(prompt, f" {text}", llm, stage="likelihood")

    scores = await together(
        score((evidence, asked), "Answer:", answer),
        score((evidence, answered), "Question:", question),
        score((evidence,), "Answer:", answer),
        score((evidence,), "Question:", question),
    )
    return LikelihoodFactors(*(mean_logprob(s) if per_token else s.logprob for s in scores))


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


def product_of_experts(factors: LikelihoodFactors, retrieval: float) -> float:
    """Return log p(p | q) p(a | q, p) · p(q | a, p) p(a | p) / p(q | p).

    Retrieval, the direct reading and the noisy channel each have a say; all weigh the same.

    Args:
        factors: Those of an answer with its passage.
        retrieval: The probability p(p | q) of the passage.

    Raises:
        InputError: `retrieval` is not from 0 to 1.
    """
    return _log(retrieval) + direct(factors) + noisy_channel(factors)


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

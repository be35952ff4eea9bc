from itertools import product
from math import exp, inf, log

import pytest

from rag.core.errors import InputError
from rag.rerankers.likelihood import (
    LikelihoodFactors,
    direct,
    log_sum,
    noisy_channel,
    rag_sequence,
)

PASSAGES, QUESTIONS, ANSWERS = ("one", "two"), ("where?", "when?"), ("here", "now", "never")
WEIGHTS = (5, 1, 2, 1, 4, 2, 3, 3, 1, 2, 7, 1)
JOINT = {
    row: weight / sum(WEIGHTS)
    for row, weight in zip(product(PASSAGES, QUESTIONS, ANSWERS), WEIGHTS, strict=True)
}
"""p(passage, question, answer) of a small world."""


def chance(**known: str) -> float:
    """The probability that a row of the world has these parts."""
    names = ("p", "q", "a")
    return sum(
        weight
        for row, weight in JOINT.items()
        if all(row[names.index(name)] == value for name, value in known.items())
    )


def factors_of(question: str, answer: str, text: str) -> LikelihoodFactors:
    """What a model that knows the world says: it agrees with Bayes' rule."""
    p, q, a = {"p": text}, {"q": question}, {"a": answer}
    return LikelihoodFactors(
        answer_given_question=log(chance(**p, **q, **a) / chance(**p, **q)),
        question_given_answer=log(chance(**p, **q, **a) / chance(**p, **a)),
        answer=log(chance(**p, **a) / chance(**p)),
        question=log(chance(**p, **q) / chance(**p)),
    )


@pytest.mark.parametrize(("p", "q", "a"), JOINT)
def test_factors_are_those_of_the_world(p: str, q: str, a: str) -> None:
    factors = factors_of(q, a, p)
    known = log(chance(p=p, q=q, a=a) / chance(p=p, q=q))
    assert direct(factors) == pytest.approx(known)
    assert noisy_channel(factors) == pytest.approx(known), "Bayes' rule"


@pytest.mark.parametrize(("q", "a"), list(product(QUESTIONS, ANSWERS)))
def test_rag_marginalises_over_passages(q: str, a: str) -> None:
    retrieval = [chance(p=p, q=q) / chance(q=q) for p in PASSAGES]
    found = rag_sequence([factors_of(q, a, p) for p in PASSAGES], retrieval)
    assert exp(found) == pytest.approx(chance(q=q, a=a) / chance(q=q))


def test_a_passage_that_was_never_retrieved_adds_nothing() -> None:
    factors = LikelihoodFactors(-1.0, -1.0, -1.0, -1.0)
    assert rag_sequence([factors, factors], [1.0, 0.0]) == pytest.approx(-1.0)
    assert rag_sequence([], []) == -inf


def test_retrieval_probabilities_are_checked() -> None:
    factors = LikelihoodFactors(-1.0, -1.0, -1.0, -1.0)
    with pytest.raises(InputError, match=r"12\.4; it must be from 0 to 1"):
        rag_sequence([factors], [12.4])
    with pytest.raises(InputError, match="2 passages but 1"):
        rag_sequence([factors, factors], [1.0])


def test_sums_of_very_unlikely_things() -> None:
    assert log_sum([-1000.0, -1000.0]) == pytest.approx(-1000 + log(2))
    assert log_sum([-inf, -2.0]) == -2.0
    assert log_sum([]) == log_sum([-inf]) == -inf

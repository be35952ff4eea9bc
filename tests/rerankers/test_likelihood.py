from collections.abc import Sequence
from itertools import product
from math import exp, inf, log

import pytest

from rag.core.documents import Passage
from rag.core.engine import Engine
from rag.core.errors import InputError, Unsupported
from rag.core.generation import ContinuationScore, Prompt
from rag.core.operations import Score
from rag.rerankers.likelihood import (
    LikelihoodFactors,
    direct,
    likelihood_factors,
    log_sum,
    noisy_channel,
    product_of_experts,
    rag_sequence,
)
from rag.testing import EchoLLM

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


def passage(text: str) -> Passage:
    return Passage("id", "doc", text, 0, len(text))


class WorldLLM(EchoLLM):
    """Knows the small world, and so agrees with Bayes' rule."""

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        labels = {"Evidence": "p", "Question": "q", "Answer": "a"}
        scores = []
        for prompt, text in zip(prompts, continuations, strict=True):
            lines = [line.split(": ") for line in (*prompt.contexts, prompt.question)]
            known = {labels[label]: value for label, value in lines}
            asked = {labels[prompt.reply_prefix.rstrip(":")]: text.strip()}
            scores.append(ContinuationScore((log(chance(**known, **asked) / chance(**known)),)))
        return scores


def factors_of(question: str, answer: str, text: str) -> LikelihoodFactors:
    program = likelihood_factors(question, answer, passage(text), WorldLLM())
    return Engine().run(program)


@pytest.mark.parametrize(("p", "q", "a"), JOINT)
def test_factors_are_those_of_the_world(p: str, q: str, a: str) -> None:
    factors = factors_of(q, a, p)
    known = log(chance(p=p, q=q, a=a) / chance(p=p, q=q))
    assert direct(factors) == pytest.approx(known)
    assert noisy_channel(factors) == pytest.approx(known), "Bayes' rule"
    retrieval = chance(p=p, q=q) / chance(q=q)
    assert product_of_experts(factors, retrieval) == pytest.approx(2 * known + log(retrieval))


@pytest.mark.parametrize(("q", "a"), list(product(QUESTIONS, ANSWERS)))
def test_rag_marginalises_over_passages(q: str, a: str) -> None:
    retrieval = [chance(p=p, q=q) / chance(q=q) for p in PASSAGES]
    found = rag_sequence([factors_of(q, a, p) for p in PASSAGES], retrieval)
    assert exp(found) == pytest.approx(chance(q=q, a=a) / chance(q=q))


def test_evidence_comes_first_then_question_then_answer() -> None:
    """Driven by hand: what each of the four is asked for, and after what."""
    llm = EchoLLM()
    text = passage("Paris is in France.")
    program = likelihood_factors("Which capital?", "Paris", text, llm)
    members = program.send(None).members
    assert all(isinstance(each, Score) and each.llm is llm for each in members)
    evidence = "Evidence: Paris is in France."
    assert [
        (each.prompt.user, each.prompt.reply_prefix, each.continuation) for each in members
    ] == [
        (f"{evidence}\n\nQuestion: Which capital?", "Answer:", " Paris"),
        (f"{evidence}\n\nAnswer: Paris", "Question:", " Which capital?"),
        (evidence, "Answer:", " Paris"),
        (evidence, "Question:", " Which capital?"),
    ]
    scores = tuple(ContinuationScore(logs) for logs in ((-1.0,), (-2.0, -4.0), (-5.0,), (-6.0,)))
    with pytest.raises(StopIteration) as ended:
        program.send(scores)
    assert ended.value.value == LikelihoodFactors(-1.0, -3.0, -5.0, -6.0)


def test_sums_instead_of_means() -> None:
    """EchoLLM: a word is as likely as its share of the prompt's words, 10,000 unseen ones added."""
    program = likelihood_factors("a b", "c c", passage("c"), EchoLLM(), per_token=False)
    factors = Engine().run(program)
    # Evidence: c Question: a b Answer: -> 6 words, one of them 'c'
    assert factors.answer_given_question == pytest.approx(2 * log(2 / 10_006))
    # Evidence: c Answer: c c Question: -> 6 words without 'a' and 'b'
    assert factors.question_given_answer == pytest.approx(2 * log(1 / 10_006))
    assert factors.answer == pytest.approx(2 * log(2 / 10_003))
    assert factors.question == pytest.approx(2 * log(1 / 10_003))


def test_short_answers_win_by_sums_only() -> None:
    for per_token in (True, False):
        short, long = (
            Engine().run(
                likelihood_factors("q", each, passage("x y z"), EchoLLM(), per_token=per_token)
            )
            for each in ("other", "x y z")
        )
        assert (direct(long) > direct(short)) == per_token


def test_a_passage_that_was_never_retrieved_adds_nothing() -> None:
    factors = LikelihoodFactors(-1.0, -1.0, -1.0, -1.0)
    assert rag_sequence([factors, factors], [1.0, 0.0]) == pytest.approx(-1.0)
    assert product_of_experts(factors, 0.0) == -inf
    assert rag_sequence([], []) == -inf


def test_retrieval_probabilities_are_checked() -> None:
    factors = LikelihoodFactors(-1.0, -1.0, -1.0, -1.0)
    with pytest.raises(InputError, match=r"12\.4; it must be from 0 to 1"):
        product_of_experts(factors, 12.4)
    with pytest.raises(InputError, match="2 passages but 1"):
        rag_sequence([factors, factors], [1.0])


@pytest.mark.parametrize("missing", ["score", "reply_prefix"])
def test_backends_that_cannot_score_are_refused(missing: str) -> None:
    llm = EchoLLM(capabilities={"generate", "score", "reply_prefix"} - {missing})
    with pytest.raises(Unsupported, match=missing):
        Engine().run(likelihood_factors("q", "a", passage("p"), llm))
    assert llm.calls == []


def test_sums_of_very_unlikely_things() -> None:
    assert log_sum([-1000.0, -1000.0]) == pytest.approx(-1000 + log(2))
    assert log_sum([-inf, -2.0]) == -2.0
    assert log_sum([]) == log_sum([-inf]) == -inf

from math import exp, inf, isclose, log, nan
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.core.hits import Hit
from rag.pipelines.answer_scoring import (
    FACTORS,
    Candidate,
    Factor,
    Scorer,
    answer_key,
    score_candidates,
)
from rag.rerankers.likelihood import LikelihoodFactors

SCORERS: tuple[Scorer, ...] = get_args(Scorer)
logs = st.floats(-12, -0.01)


def candidate(
    answer: str, retrieval: float, direct: float, *others: float, paragraph: str = "p"
) -> Candidate:
    passage = Passage(paragraph, paragraph, "text", 0, 4)
    factors = LikelihoodFactors(direct, *(others or (nan, nan, nan)))
    return Candidate(answer, Hit(passage, retrieval), factors, exp(direct))


@st.composite
def drawn(draw: st.DrawFn) -> list[Candidate]:
    """Answers of up to four paragraphs, none twice in one paragraph."""
    weights = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
    return [
        candidate(answer, weight / sum(weights), *draw(st.tuples(*[logs] * 4)), paragraph=str(n))
        for n, weight in enumerate(weights)
        for answer in draw(st.lists(st.sampled_from(["a", "b", "c d"]), unique=True, max_size=3))
    ]


def paper(scorer: Scorer, one: Candidate, among: list[Candidate]) -> float:
    """The paper's formulas as products of probabilities."""

    def p(each: Candidate) -> tuple[float, float, float, float, float]:
        f = each.factors
        answered, asked, answer, question = map(
            exp, (f.answer_given_question, f.question_given_answer, f.answer, f.question)
        )
        return each.paragraph.score, answered, asked, answer, question

    retrieval, answered, asked, answer, question = p(one)
    if scorer == "direct":
        return answered
    if scorer == "rag":
        same = [p(each) for each in among if each.answer == one.answer]
        return sum(weight * likelihood for weight, likelihood, *_ in same)
    if scorer == "noisy_channel":
        return asked * answer / question
    return retrieval * answered * asked * answer


@pytest.mark.parametrize("scorer", SCORERS)
@given(candidates=drawn())
def test_scores_are_the_logarithms_of_the_paper_s(
    scorer: Scorer, candidates: list[Candidate]
) -> None:
    scored = score_candidates(scorer, candidates)
    assert sorted(map(id, candidates)) == sorted(id(each.candidate) for each in scored)
    for each in scored:
        expected = log(paper(scorer, each.candidate, candidates))
        assert isclose(each.score, expected, rel_tol=1e-9, abs_tol=1e-9)
    scores = [each.score for each in scored]
    assert scores == sorted(scores, reverse=True)


def test_scorers_disagree_where_they_should() -> None:
    """'b' is likelier after the question only because it is likely anyway."""
    a = candidate("a", 0.5, log(0.5), log(0.2), log(0.1), log(0.01))
    b = candidate("b", 0.5, log(0.6), log(0.01), log(0.5), log(0.01))
    best = {each: score_candidates(each, [a, b])[0].candidate.answer for each in SCORERS}
    assert best == {"direct": "b", "rag": "b", "noisy_channel": "a", "poe": "a"}


def test_a_paragraph_without_the_question_s_subject_gains_by_the_noisy_channel_only() -> None:
    """An answer that repeats the question makes it likely after any paragraph."""
    right = candidate("Oslo", 0.6, log(0.9), log(0.2), log(0.5), log(0.19))
    wrong = candidate("It is in Hull", 0.4, log(0.6), log(0.2), log(0.1), log(0.01))
    best = {each: score_candidates(each, [right, wrong])[0].candidate.answer for each in SCORERS}
    assert best == {**dict.fromkeys(SCORERS, "Oslo"), "noisy_channel": "It is in Hull"}


def test_an_answer_of_many_paragraphs_adds_up_and_is_cited_from_the_best() -> None:
    candidates = [
        candidate("Oslo", 0.3, log(0.4), paragraph="one"),
        candidate("oslo.", 0.4, log(0.5), paragraph="two"),
        candidate("Bergen", 0.3, log(0.9), paragraph="three"),
    ]
    first, second, third = score_candidates("rag", candidates)
    assert (first.candidate.paragraph.passage.id, first.score) == ("two", pytest.approx(log(0.32)))
    assert second.candidate.paragraph.passage.id == "one"
    assert second.score == first.score > third.score
    assert score_candidates("direct", candidates)[0].candidate.answer == "Bergen"


def test_very_unlikely_answers_still_have_an_order() -> None:
    less, more = candidate("a", 0.5, -2000.0), candidate("b", 0.5, -1999.0)
    for scorer in ("direct", "rag"):
        assert score_candidates(scorer, [less, more])[0].candidate is more


def test_an_impossible_answer_comes_last() -> None:
    never, rare = candidate("a", 0.5, -inf, -1.0, -1.0, -1.0), candidate("b", 0.5, -9, -9, -9, -1)
    assert [each.candidate for each in score_candidates("poe", [never, rare])] == [rare, never]


def test_no_candidates() -> None:
    assert [score_candidates(each, []) for each in SCORERS] == [[]] * 4


def test_factors_are_those_of_the_language_model() -> None:
    assert tuple(LikelihoodFactors.__dataclass_fields__) == get_args(Factor)
    assert set(FACTORS) == set(SCORERS)
    assert all(factors[0] == "answer_given_question" for factors in FACTORS.values())


@pytest.mark.parametrize(
    ("one", "other"), [("Oslo", " oslo."), ("Jay-Z", "jay z"), ("42", "42 "), ("東京", "東京。")]
)
def test_answers_that_are_the_same(one: str, other: str) -> None:
    assert answer_key(one) == answer_key(other)


@pytest.mark.parametrize(("one", "other"), [("Oslo", "Bergen"), ("+", "-"), ("4.2", "42")])
def test_answers_that_are_not(one: str, other: str) -> None:
    assert answer_key(one) != answer_key(other)

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.rerankers.calibration import calibrated, fitted_utilities
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.listwise import ListwiseReranker
from rag.rerankers.sliding import SlidingWindow
from rag.rerankers.tournament import Tournament
from tests.rerankers.oracle import OracleLLM, hits_worth

UTILITIES = [2.0, -1.0, 0.5, 3.0, 0.0, -2.5, 1.0]


def observed(window: list[int], noise: Random | None = None) -> tuple[list[int], list[float]]:
    """How likely each of a window's passages is chosen, by Luce's axiom."""
    total = math.log(sum(math.exp(UTILITIES[place]) for place in window))
    extra = noise.gauss if noise else lambda mean, spread: 0.0
    return window, [UTILITIES[place] - total + extra(0, 0.1) for place in window]


@given(st.permutations(range(7)))
def test_windows_that_overlap_give_the_utilities_back(shuffled: list[int]) -> None:
    windows = [shuffled[:3], shuffled[2:5], shuffled[4:]]
    mean = sum(UTILITIES) / 7
    found = fitted_utilities([observed(window) for window in windows])
    assert found == {place: pytest.approx(UTILITIES[place] - mean) for place in range(7)}


def test_noise_is_averaged() -> None:
    noise = Random(0)
    windows = [noise.sample(range(7), 4) for _ in range(200)]
    found = fitted_utilities([observed(window, noise) for window in windows])
    mean = sum(UTILITIES) / 7
    assert found == {place: pytest.approx(UTILITIES[place] - mean, abs=0.05) for place in range(7)}


def test_windows_without_a_common_passage_have_no_common_scale() -> None:
    assert fitted_utilities([observed([0, 1, 2]), observed([3, 4])]) == {}
    assert fitted_utilities([]) == {}
    assert calibrated([1, 0], [observed([1, 0, 2]), observed([3, 4])]) == [1.0, 0.5]
    assert calibrated([0, 6], [observed([0, 1, 2])]) == [1.0, 0.5]


def test_scores_follow_the_order_with_the_least_change() -> None:
    window = [3, 0, 6, 2]
    scores = calibrated([3, 6, 0, 2], [observed(window)])
    mean = sum(UTILITIES[place] for place in window) / 4
    assert scores == pytest.approx([3 - mean, 1.5 - mean, 1.5 - mean, 0.5 - mean])


ranker = FirstTokenRanker(OracleLLM())


@pytest.mark.parametrize(
    "reranker", [SlidingWindow(ranker, window=8, passes=2), Tournament(ranker, window=8)]
)
def test_scores_of_several_windows_are_differences_of_worth(reranker: ListwiseReranker) -> None:
    worths = [value / 4 for value in Random(5).sample(range(30), 30)]
    hits = reranker.rerank("q", hits_worth(worths), 6).hits
    differences = [hits[0].score - hit.score for hit in hits]
    assert differences == pytest.approx([number / 4 for number in range(6)], abs=1e-6)

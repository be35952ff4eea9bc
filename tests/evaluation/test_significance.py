"""Tests of significance against independent computations."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from rag.core.errors import InputError
from rag.evaluation import compare
from rag.evaluation.significance import bootstrap_interval, randomization_test


@pytest.mark.parametrize("seed", range(5))
def test_few_queries_are_tested_exactly(seed):
    differences = np.random.default_rng(seed).normal(0.3, 1, 9).round(1)
    means = [
        abs(np.mean([sign * each for sign, each in zip(signs, differences, strict=True)]))
        for signs in product((-1, 1), repeat=9)
    ]
    expected = np.mean([mean >= abs(differences.mean()) - 1e-12 for mean in means])
    assert randomization_test(differences) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1])
def test_many_queries_agree_with_scipy(shift):
    rng = np.random.default_rng(3)
    ours = rng.normal(0.5 + shift, 0.3, 120)
    theirs = ours - shift + rng.normal(0, 0.3, 120)
    expected = stats.permutation_test(
        (ours, theirs),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    p_value = randomization_test(ours - theirs)
    assert p_value == pytest.approx(expected.pvalue, abs=0.012)
    # With so many queries the t-test is close as well.
    assert p_value == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, abs=0.02)


def test_the_interval_agrees_with_scipy():
    differences = np.random.default_rng(4).exponential(0.1, 80) - 0.05
    reference = stats.bootstrap(
        (differences,),
        np.mean,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert bootstrap_interval(differences) == pytest.approx(
        (reference.low, reference.high), abs=0.001
    )


def test_is_repeatable():
    differences = np.random.default_rng(5).normal(0.01, 1, 50)
    assert randomization_test(differences, seed=7) == randomization_test(differences, seed=7)
    assert randomization_test(differences, seed=7) != randomization_test(differences, seed=8)
    assert bootstrap_interval(differences, seed=7) == bootstrap_interval(differences, seed=7)


def test_chance_alone_is_rarely_significant():
    rng = np.random.default_rng(6)
    p_values = [randomization_test(rng.normal(0, 1, 30), samples=500) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_comparison():
    baseline = {f"q{number}": 0.5 for number in range(20)}
    values = {query: 0.7 if number < 15 else 0.4 for number, query in enumerate(baseline)}
    values["q19"] = 0.5
    result = compare(values, dict(reversed(baseline.items())))
    assert (result.queries, result.wins, result.losses) == (20, 15, 4)
    assert result.mean == pytest.approx(0.63)
    assert result.baseline_mean == pytest.approx(0.5)
    assert result.difference == pytest.approx(0.13)
    assert 0 < result.low < result.difference < result.high
    assert result.p_value < 0.01


def test_equal_runs_do_not_differ():
    values = {"q1": 0.5, "q2": 1.0}
    result = compare(values, values)
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("baseline", [{}, {"q1": 0.5}, {"q1": 0.5, "q3": 0.5}])
def test_runs_of_different_queries_cannot_be_compared(baseline):
    with pytest.raises(InputError, match="2 and"):
        compare({"q1": 0.5, "q2": 0.5}, baseline)

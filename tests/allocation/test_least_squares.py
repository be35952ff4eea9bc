import numpy as np
import pytest
from scipy.stats import linregress

from rag.allocation.least_squares import fit_line, fit_sigmoid
from rag.allocation.sigmoid import PUBLISHED_SIGMOID, Sigmoid
from rag.core.errors import InputError


def test_a_line_has_the_slope_and_the_standard_errors_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = 2 + 3 * x + rng.normal(size=20)
    found, reference = fit_line(np.column_stack([np.ones(20), x]), y), linregress(x, y)
    assert found.coefficients == pytest.approx([reference.intercept, reference.slope])
    errors = np.sqrt(np.diag(found.covariance))
    assert errors == pytest.approx([reference.intercept_stderr, reference.stderr])


def test_a_term_that_others_make_up_gets_nothing() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12))
    terms = np.column_stack([np.ones(12), np.zeros(12), x, 2 * x - 1, y, x + y])
    found = fit_line(terms, 1 + x - y + rng.normal(scale=1e-6, size=12))
    assert found.coefficients == pytest.approx([1, 0, 1, 0, -1, 0], abs=1e-4)
    assert (np.diag(found.covariance) > 0).tolist() == [True, False, True, False, True, False]


def test_known_coefficients_are_within_their_intervals() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([-0.7, 0.3, 0.1, 0.2, -0.5, 0.3])
    terms = np.column_stack([np.ones(100), rng.uniform(-1, 1, size=(100, 5))])
    within = np.zeros(6)
    for _ in range(200):
        scores = PUBLISHED_SIGMOID(terms @ truth + rng.normal(scale=0.1, size=100))
        found = fit_line(terms, PUBLISHED_SIGMOID.inverse(scores))
        errors = np.sqrt(np.diag(found.covariance))
        within += np.abs(found.coefficients - truth) < 1.96 * errors
    assert (within >= 180).all()


def test_a_sigmoid_is_found_again() -> None:
    rng = np.random.default_rng(0)
    curve = Sigmoid(height=2.4, steepness=1.81, shift=0.46, floor=-1.4)
    terms = np.column_stack([np.ones(80), rng.uniform(-3, 3, size=(80, 2))])
    truth = np.array([-0.4, 0.8, 0.3])
    scores = curve(terms @ truth)
    start = fit_line(terms, PUBLISHED_SIGMOID.inverse(scores))
    sigmoid, found = fit_sigmoid(terms, scores, PUBLISHED_SIGMOID, start)
    assert (sigmoid.floor, sigmoid.height) == pytest.approx((-1.4, 2.4), abs=1e-4)
    assert found.coefficients == pytest.approx(truth, abs=1e-4)


def test_too_few_observations_are_refused() -> None:
    terms = np.column_stack([np.ones(3), np.arange(3.0), np.arange(3.0) ** 2])
    with pytest.raises(InputError, match="3 cells do not determine 3 parameters; measure more"):
        fit_line(terms, np.arange(3.0))
    line = fit_line(terms[:, :2], np.arange(3.0))
    with pytest.raises(InputError, match="3 cells do not determine 4 parameters"):
        fit_sigmoid(terms[:, :2], np.arange(3.0), PUBLISHED_SIGMOID, line)

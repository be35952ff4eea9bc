import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.sigmoid import MARGIN, PUBLISHED_SIGMOID, Sigmoid

numbers = st.floats(-5, 5)
sigmoids = st.builds(Sigmoid, st.floats(0.1, 10), st.floats(0.1, 5), numbers, numbers)


def test_the_published_curve() -> None:
    x = np.array([-1.0, 0.0, 1.4])
    expected = 3.30 / (1 + np.exp(-1.81 * (x + 0.46))) - 2.18
    assert PUBLISHED_SIGMOID(x) == pytest.approx(expected)
    y = np.array([-2.0, 0.0, 1.0])
    assert PUBLISHED_SIGMOID.inverse(y) == pytest.approx(
        -0.46 - np.log(3.30 / (y + 2.18) - 1) / 1.81
    )


@given(sigmoids, st.floats(MARGIN, 1 - MARGIN))
def test_inverse_and_curve_undo_each_other(sigmoid: Sigmoid, share: float) -> None:
    y = np.array([sigmoid.floor + share * sigmoid.height])
    assert sigmoid(sigmoid.inverse(y)) == pytest.approx(y, abs=1e-9)


@given(sigmoids, numbers)
def test_slope_is_the_derivative(sigmoid: Sigmoid, x: float) -> None:
    around = sigmoid(np.array([x - 1e-5, x + 1e-5]))
    assert sigmoid.slope(np.array([x])) == pytest.approx(np.diff(around) / 2e-5, abs=1e-4)


def test_scores_outside_the_range_are_moved_just_inside() -> None:
    low, high = -2.18 + MARGIN * 3.30, 1.12 - MARGIN * 3.30
    scores = np.array([-3.0, -2.18, low + 1e-9, 0.0, high - 1e-9, 1.12, 2.5])
    moved = np.array([low, low, low + 1e-9, 0.0, high - 1e-9, high, high])
    assert PUBLISHED_SIGMOID(PUBLISHED_SIGMOID.inverse(scores)) == pytest.approx(moved, abs=1e-9)
    assert PUBLISHED_SIGMOID.clipped(scores).tolist() == [True, True, *[False] * 3, True, True]


def test_no_argument_is_too_large() -> None:
    assert PUBLISHED_SIGMOID(np.array([-1e9, 1e9])) == pytest.approx([-2.18, 1.12])

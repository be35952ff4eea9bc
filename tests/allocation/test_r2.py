import math

import pytest

from rag.allocation.r2 import r2

DATASETS = ["easy", "easy", "hard", "hard"]
MEASURED = [0.8, 0.6, 0.3, 0.1]


def test_right_predictions_explain_everything() -> None:
    assert r2(DATASETS, MEASURED, MEASURED) == 1


def test_the_means_of_data_sets_explain_nothing() -> None:
    assert r2(DATASETS, MEASURED, [0.7, 0.7, 0.2, 0.2]) == pytest.approx(0)


def test_errors_are_compared_with_the_spread_within_data_sets() -> None:
    # Squared errors of 0.01 against a spread of 4 x 0.01.
    assert r2(DATASETS, MEASURED, [0.8, 0.6, 0.3, 0.2]) == pytest.approx(0.75)
    assert r2(DATASETS, MEASURED, [0.1, 0.3, 0.6, 0.8]) < 0


def test_without_a_spread_there_is_no_share() -> None:
    assert math.isnan(r2(DATASETS, [0.8, 0.8, 0.3, 0.3], MEASURED))

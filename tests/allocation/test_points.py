import numpy as np
import pytest

from rag.allocation.cells import CellTable, Measured
from rag.allocation.points import points_of
from rag.core.allocations import Allocation

CELL = ("DRAG", Allocation(1))


def measured(values: list[float], tokens: list[float]) -> Measured:
    names = tuple(f"q{number}" for number in range(len(values)))
    nothing = np.zeros(len(values))
    return Measured(names, np.array(values), np.array(tokens), nothing, nothing, nothing)


def test_means_and_their_standard_error() -> None:
    table = CellTable("em", {"quiz": {CELL: measured([1, 1, 0, 0], [10, 20, 30, 60])}})
    (point,) = points_of(table)["quiz"]
    assert (point.cell, point.tokens, point.score) == (CELL, 30, 0.5)
    # Four outcomes, half of them 1: a variance of 1/3 with n - 1 in the denominator.
    assert point.error == pytest.approx((1 / 3 / 4) ** 0.5)


def test_of_one_question_no_error_is_known() -> None:
    (point,) = points_of(CellTable("em", {"quiz": {CELL: measured([1], [10])}}))["quiz"]
    assert (point.score, point.error) == (1, 0)

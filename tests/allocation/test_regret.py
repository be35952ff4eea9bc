from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.cells import CellTable, Measured
from rag.allocation.grid_search import GridSearch
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction
from rag.allocation.regret import Regret, halves, log_budgets, regret, relative
from rag.core.allocations import Allocation
from rag.core.errors import InputError
from tests.allocation.simulated import GRID, Truth, simulated

A, B, C = (("DRAG", Allocation(documents)) for documents in (1, 2, 3))


def measured(values: Sequence[float], tokens: Sequence[float]) -> Measured:
    ids = tuple(map(str, range(len(values))))
    ones = np.ones(len(values))
    return Measured(ids, np.array(values), np.array(tokens, dtype=float), ones, ones, ones)


TABLE = CellTable("em", {
    "a": {
        A: measured([0, 1, 0, 0], [10, 10, 10, 20]),
        B: measured([0, 0, 1, 1], [20, 20, 20, 40]),
        C: measured([1, 1, 1, 0], [60, 60, 60, 80]),
    }
})  # fmt: skip


class Scores:
    """Predicts given means, and is sure of them."""

    def __init__(self, *means: float) -> None:
        self.means = dict(zip((A, B, C), means, strict=True))

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        return [Prediction(*[self.means[cell]] * 3) for cell in cells]


def test_regret_by_hand() -> None:
    found = regret(Scores(0.9, 0.1, 0.5), TABLE, "a", [19, 20, 79, 80])
    assert found == [
        Regret(20, "a", A, 0.25, A, 0.25),
        Regret(79, "a", A, 0.25, B, 0.5),
        Regret(80, "a", A, 0.25, C, 0.75),
    ]
    assert [each.lost for each in found] == [0, 0.25, 0.5]
    assert relative(found) == pytest.approx(0.75 / 1.5)
    assert relative([]) == 0


def test_only_some_cells_are_to_choose_from() -> None:
    (found,) = regret(Scores(0.1, 0.2, 0.9), TABLE, "a", [80], [A, B])
    assert (found.chosen, found.oracle) == (B, B)


def test_valued_on_other_questions_the_oracle_may_lose() -> None:
    other = CellTable("em", {"a": {
        A: measured([1, 1], [1, 1]), B: measured([0, 0], [1, 1]), C: measured([0, 1], [1, 1]),
    }})  # fmt: skip
    (found,) = regret(Scores(0.9, 0.1, 0.5), TABLE, "a", [80], valued_on=other)
    assert found == Regret(80, "a", A, 1.0, C, 0.5)
    assert found.lost == -0.5


def test_who_knows_no_cell_takes_the_cheapest() -> None:
    search = GridSearch({"a": {C: Prediction(0.9, 0.9, 0.9)}})
    assert [each.chosen for each in regret(search, TABLE, "a", [40, 80])] == [A, C]


scores = st.floats(0, 1)


@given(scores, scores, scores, st.lists(st.integers(1, 100), max_size=5))
def test_regret_is_never_below_0(a: float, b: float, c: float, budgets: list[int]) -> None:
    assert all(each.lost >= 0 for each in regret(Scores(a, b, c), TABLE, "a", budgets))


@given(st.integers(0, 50), st.integers(1, 20))
def test_the_oracle_has_no_regret(seed: int, questions: int) -> None:
    table = simulated(questions, seed, GRID[::7])

    class Oracle:
        def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
            means = [table.datasets[dataset][cell].mean for cell in cells]
            return [Prediction(mean, mean, mean) for mean in means]

    for name in table.datasets:
        assert relative(regret(Oracle(), table, name, log_budgets(table))) == 0


def test_the_truth_seems_worse_than_chance_finds_unless_valued_apart() -> None:
    """The best of many noisy means is too good; on other questions it is what it is."""
    plain, apart = [], []
    for seed in range(8):
        table = simulated(40, seed)
        budgets = log_budgets(table)
        first, second = halves(table, seed)
        for name in table.datasets:
            plain += regret(Truth(), table, name, budgets)
            apart += regret(Truth(), first, name, budgets, valued_on=second)
    assert relative(plain) > 0.05
    assert relative(apart) < 0.02


def test_budgets_go_from_the_cheapest_cell_to_the_dearest() -> None:
    assert log_budgets(TABLE, 3) == [20, 40, 80]
    assert len(log_budgets(TABLE, 100)) <= 61


def test_halves_have_each_question_once_and_the_same_for_all_cells() -> None:
    table = simulated(7, cells=GRID[:4])
    first, second = halves(table, 3)
    for name, cells in table.datasets.items():
        for cell, each in cells.items():
            ids = (first.datasets[name][cell].query_ids, second.datasets[name][cell].query_ids)
            assert sorted(ids[0] + ids[1]) == list(each.query_ids)
            assert len(ids[0]) == 3
            assert ids[0] == first.datasets[name][GRID[0]].query_ids
    with pytest.raises(InputError, match="1 questions; halves need two"):
        halves(simulated(1, cells=GRID[:1]), 0)

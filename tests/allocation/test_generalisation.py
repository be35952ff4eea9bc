import math
from collections.abc import Sequence

import pytest

from rag.allocation.cells import CellTable
from rag.allocation.generalisation import (
    ANCHOR_CELLS,
    HeldOut,
    held_out_cells,
    held_out_dataset,
    longer_budgets,
    random_half,
)
from rag.allocation.grid_search import GridSearch
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction, Predictor
from rag.allocation.regret import log_budgets, relative
from rag.core.errors import InputError
from tests.allocation.simulated import GRID, Truth, simulated, true_score

TABLE = simulated(questions=6, cells=GRID[::3] + list(ANCHOR_CELLS))
BUDGETS = [200, 1000, 5000, 25_000]


class Watched:
    """A fit that keeps the tables that it was given, and knows the truth anyway."""

    def __init__(self) -> None:
        self.tables: list[CellTable] = []

    def __call__(self, table: CellTable) -> Predictor:
        self.tables.append(table)
        return Truth()


def test_of_a_held_out_data_set_only_the_anchors_are_seen() -> None:
    fit = Watched()
    found = held_out_dataset(TABLE, fit, BUDGETS)
    assert [each.dataset for each in found] == [name for name in TABLE.datasets for _ in BUDGETS]
    for held_out, seen in zip(TABLE.datasets, fit.tables, strict=True):
        for name, cells in TABLE.datasets.items():
            expected = set(ANCHOR_CELLS) if name == held_out else set(cells)
            assert set(seen.datasets[name]) == expected


def test_without_anchors_a_grid_search_takes_what_is_best_for_the_others() -> None:
    table = simulated(noise=0)
    found = held_out_dataset(table, GridSearch.fit, log_budgets(table), anchors=())
    assert relative(found) < 0.03 < relative(held_out_dataset(table, GridSearch.fit, BUDGETS))


def test_only_cells_within_the_limit_are_seen() -> None:
    fit = Watched()
    longer_budgets(TABLE, fit, 1000, BUDGETS)
    (seen,) = fit.tables
    for name, cells in TABLE.datasets.items():
        within = {cell for cell, each in cells.items() if each.tokens.max() <= 1000}
        assert set(seen.datasets[name]) == within < set(cells)


def test_half_of_the_cells_and_the_anchors_are_seen() -> None:
    fit = Watched()
    random_half(TABLE, fit, BUDGETS, seeds=[0, 1])
    first, second = ([set(cells) for cells in table.datasets.values()] for table in fit.tables)
    assert first[0] == first[1] == first[2] != second[0]
    others = len(TABLE.datasets["musique"]) - len(ANCHOR_CELLS)
    assert len(first[0] - set(ANCHOR_CELLS)) == math.ceil(others / 2)
    assert set(ANCHOR_CELLS) <= first[0]


def test_splits_fit_to_one_half_of_the_questions() -> None:
    fit = Watched()
    found = longer_budgets(TABLE, fit, 1000, BUDGETS, splits=3)
    assert [len(each.datasets["2wiki"][GRID[0]].query_ids) for each in fit.tables] == [3, 3, 3]
    assert len(found) == 3 * len(TABLE.datasets) * len(BUDGETS)


def test_no_cell_is_predicted_that_was_seen() -> None:
    fit = Watched()
    found = held_out_cells(TABLE, fit, folds=4)
    cells = set(TABLE.datasets["musique"])
    held_out = [cells - set(table.datasets["musique"]) for table in fit.tables]
    assert sum(map(len, held_out)) == len(set.union(*held_out)) == len(cells - set(ANCHOR_CELLS))
    assert set(found.cells) == set.union(*held_out)
    for name, cell, predicted, measured in zip(
        found.datasets, found.cells, found.predicted, found.measured, strict=True
    ):
        assert predicted == true_score(name, cell)
        assert measured == TABLE.datasets[name][cell].mean


def test_r2_by_hand() -> None:
    a, b = GRID[:2]
    names, cells, measured = ("x", "x", "y", "y"), (a, b, a, b), (0.1, 0.3, 0.6, 0.8)
    assert HeldOut(names, cells, measured, measured).r2 == 1
    assert HeldOut(names, cells, (0.2, 0.2, 0.7, 0.7), measured).r2 == pytest.approx(0)
    assert HeldOut(names, cells, (0.1, 0.3, 0.7, 0.7), measured).r2 == pytest.approx(0.5)
    assert math.isnan(HeldOut(names, cells, measured, (0.1, 0.1, 0.6, 0.6)).r2)


def test_the_truth_has_a_high_r2_where_little_is_noise() -> None:
    class Shifted:
        def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
            return [Prediction(*[true_score(dataset, cell) - 0.3] * 3) for cell in cells]

    table = simulated(questions=2000, cells=GRID[::2] + list(ANCHOR_CELLS))
    assert held_out_cells(table, lambda _: Truth()).r2 > 0.95
    assert held_out_cells(table, lambda _: Shifted()).r2 < 0


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(InputError, match="1 cells do not make 5 parts"):
        held_out_cells(simulated(4, cells=[*ANCHOR_CELLS, GRID[-1]]), GridSearch.fit)

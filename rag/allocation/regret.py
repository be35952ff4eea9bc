"""What following a predictor costs, against knowing all measurements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rag.allocation.cells import CellTable, Measured
from rag.allocation.observations import Cell
from rag.allocation.planning import best, candidates_of, share
from rag.allocation.predictions import Predictor
from rag.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Regret:
    """What a choice lost against the oracle, at one budget.

    Args:
        budget: Input tokens that no question may take more of.
        dataset: The data set.
        chosen: The cell that the predictor led to.
        chosen_value: The metric measured there.
        oracle: The cell with the best measured mean of those within the budget.
        oracle_value: The metric measured there.
    """

    budget: int
    dataset: str
    chosen: Cell
    chosen_value: float
    oracle: Cell
    oracle_value: float

    @property
    def lost(self) -> float:
        """The metric lost; below 0 only where it is valued on other questions than chosen on."""
        return self.oracle_value - self.chosen_value


def relative(regrets: Iterable[Regret]) -> float:
    """Return the share of the oracle's metric that was lost, all budgets and data sets together.

    A ratio of sums: single ratios would say most of budgets where little can be won.
    """
    each = list(regrets)
    oracle = sum(regret.oracle_value for regret in each)
    return sum(regret.lost for regret in each) / oracle if oracle else 0.0


def regret(
    predictor: Predictor,
    truth: CellTable,
    dataset: str,
    budgets: Iterable[int],
    cells: Sequence[Cell] | None = None,
    *,
    valued_on: CellTable | None = None,
) -> list[Regret]:
    """Return what following a predictor loses at some budgets.

    The cell is chosen as `plan` does it, but for the tokens, which are those measured. Where the
    predictor knows no cell within a budget, it is the cheapest one.

    Args:
        predictor: What cells are expected to score.
        truth: What was measured.
        dataset: The data set.
        budgets: Input tokens; those that no cell fits are left out.
        cells: The cells to choose from, those measured; all measured ones without it.
        valued_on: What the chosen cell and the oracle are valued on, if not `truth`. The best of
            many noisy means is too good, and with it the regret: on other questions it is not.
    """
    measured = truth.datasets[dataset]
    valued = (valued_on or truth).datasets[dataset]
    largest = {cell: float(each.tokens.max()) for cell, each in measured.items()}
    cheap_first = sorted(measured if cells is None else cells, key=largest.__getitem__)
    known = candidates_of(predictor, dataset, cheap_first)
    predictions = predictor.predict(dataset, known)
    found = []
    for budget in budgets:
        within = [cell for cell in cheap_first if largest[cell] <= budget]
        if not within:
            continue
        position = best(predictions, [share(largest[cell], budget) for cell in known])
        chosen = within[0] if position is None else known[position]
        oracle = max(within, key=lambda cell: measured[cell].mean)
        found.append(
            Regret(budget, dataset, chosen, valued[chosen].mean, oracle, valued[oracle].mean)
        )
    return found


def log_budgets(table: CellTable, count: int = 12) -> list[int]:
    """Return budgets from what the cheapest cell of a table takes to what the dearest one does.

    Each is larger than the one before by the same factor.
    """
    largest = [each.tokens.max() for cells in table.datasets.values() for each in cells.values()]
    return sorted({round(each) for each in np.geomspace(min(largest), max(largest), count)})


def halves(table: CellTable, seed: int) -> tuple[CellTable, CellTable]:
    """Return two tables with half of each data set's questions each, the same for all its cells.

    Raises:
        InputError: A data set has less than two questions.
    """
    rng = np.random.default_rng(seed)
    first: dict[str, dict[Cell, Measured]] = {}
    second: dict[str, dict[Cell, Measured]] = {}
    for name, cells in table.datasets.items():
        count = len(next(iter(cells.values())).query_ids)
        if count < 2:
            raise InputError(f"{name} has {count} questions; halves need two at least")
        order = rng.permutation(count)
        first[name] = {cell: each.at(order[: count // 2]) for cell, each in cells.items()}
        second[name] = {cell: each.at(order[count // 2 :]) for cell, each in cells.items()}
    return CellTable(table.metric, first), CellTable(table.metric, second)

"""How well a predictor does on what it has not seen: data sets, budgets, cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rag.allocation.cells import CellTable
from rag.allocation.dataset_statistics import ANCHORS, STAND_IN
from rag.allocation.observations import Cell
from rag.allocation.predictions import Predictor
from rag.allocation.r2 import r2
from rag.allocation.regret import Regret, halves, regret
from rag.core.errors import InputError

Fit: TypeAlias = Callable[[CellTable], Predictor]
"""What makes a predictor of measured cells: `GridSearch.fit`, for one."""

ANCHOR_CELLS: tuple[Cell, ...] = tuple((STAND_IN, each) for each in ANCHORS)
"""The cells that tell what a document and a worked example add: arXiv 2410.04343, section 5."""


def held_out_dataset(
    table: CellTable,
    fit: Fit,
    budgets: Sequence[int],
    *,
    anchors: Sequence[Cell] = ANCHOR_CELLS,
    splits: int = 0,
) -> list[Regret]:
    """Return the regrets on each data set of fits that saw only its anchors, and all others.

    This is the domain generalisation of arXiv 2410.04343, section 5. Without anchors nothing is
    known of the data set, and `GridSearch.fit` takes what is best for the others.

    Args:
        table: What was measured.
        fit: Makes a predictor of it.
        budgets: Input tokens.
        anchors: The cells that are seen of the data set.
        splits: How often to halve the questions, to choose on one half, predictor and oracle, and
            to value on the other; 0 chooses and values on all of them.
    """
    found = []
    for held_out in table.datasets:

        def seen(name: str, cell: Cell, held_out: str = held_out) -> bool:
            return name != held_out or cell in anchors

        found += _regrets(table, fit, seen, [held_out], budgets, splits)
    return found


def longer_budgets(
    table: CellTable, fit: Fit, limit: int, budgets: Sequence[int], *, splits: int = 0
) -> list[Regret]:
    """Return the regrets at budgets of a fit that saw only what no question took more for.

    This is the length extrapolation of arXiv 2410.04343, section 5.

    Args:
        table: What was measured.
        fit: Makes a predictor of it.
        limit: The cells whose largest input tokens are at most this are seen.
        budgets: Input tokens, more than the limit.
        splits: See `held_out_dataset`.
    """

    def seen(name: str, cell: Cell) -> bool:
        return float(table.datasets[name][cell].tokens.max()) <= limit

    return _regrets(table, fit, seen, table.datasets, budgets, splits)


def random_half(
    table: CellTable,
    fit: Fit,
    budgets: Sequence[int],
    *,
    seeds: Iterable[int] = range(5),
    anchors: Sequence[Cell] = ANCHOR_CELLS,
    splits: int = 0,
) -> list[Regret]:
    """Return the regrets of fits that saw the anchors and a random half of the other cells.

    Args:
        table: What was measured.
        fit: Makes a predictor of it.
        budgets: Input tokens.
        seeds: One for each half.
        anchors: The cells that are seen in any case.
        splits: See `held_out_dataset`.
    """
    found = []
    for seed in seeds:
        seen = _among([*anchors, *_folds(table, anchors, 2, seed)[0]])
        found += _regrets(table, fit, seen, table.datasets, budgets, splits)
    return found


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predictions of cells that a fit had not seen, and what was measured there.

    Args:
        datasets: The data set of each cell.
        cells: The cells.
        predicted: Their predicted means.
        measured: Their measured ones.
    """

    datasets: tuple[str, ...]
    cells: tuple[Cell, ...]
    predicted: tuple[float, ...]
    measured: tuple[float, ...]

    @property
    def r2(self) -> float:
        """Share of the variance between cells of a data set that the predictions explain.

        NaN if all cells of each data set score the same.
        """
        return r2(self.datasets, self.measured, self.predicted)


def held_out_cells(
    table: CellTable,
    fit: Fit,
    *,
    folds: int = 5,
    seed: int = 0,
    anchors: Sequence[Cell] = ANCHOR_CELLS,
) -> HeldOut:
    """Predict each cell with a fit to the other folds' cells; it has seen it of no data set.

    Args:
        table: What was measured.
        fit: Makes a predictor of it.
        folds: How many parts the cells are put into, at random.
        seed: Makes them repeatable.
        anchors: The cells that are seen in any case, and not predicted.
    """
    rows: list[tuple[str, Cell, float, float]] = []
    parts = _folds(table, anchors, folds, seed)
    for fold in parts:
        others = [cell for part in parts if part is not fold for cell in part]
        predictor = fit(table.where(_among([*anchors, *others])))
        for name, measured in table.datasets.items():
            cells = [cell for cell in fold if cell in measured]
            predictions = predictor.predict(name, cells)
            for cell, each in zip(cells, predictions, strict=True):
                rows.append((name, cell, each.mean, measured[cell].mean))
    return HeldOut(*zip(*rows, strict=True))


def _folds(table: CellTable, anchors: Sequence[Cell], folds: int, seed: int) -> list[list[Cell]]:
    """Return the cells of all data sets but the anchors, in parts of about the same size."""
    cells = sorted({cell for each in table.datasets.values() for cell in each} - set(anchors))
    if len(cells) < folds:
        raise InputError(f"{len(cells)} cells do not make {folds} parts; measure more")
    order = np.random.default_rng(seed).permutation(len(cells))
    return [[cells[position] for position in order[start::folds]] for start in range(folds)]


def _among(cells: Collection[Cell]) -> Callable[[str, Cell], bool]:
    return lambda _, cell: cell in cells


def _regrets(
    table: CellTable,
    fit: Fit,
    seen: Callable[[str, Cell], bool],
    datasets: Iterable[str],
    budgets: Sequence[int],
    splits: int,
) -> list[Regret]:
    """Return the regrets of fits to what they are shown, of all questions or of halves of them."""
    tables = [halves(table, seed) for seed in range(splits)] or [(table, table)]
    found = []
    for chosen_on, valued_on in tables:
        predictor = fit(chosen_on.where(seen))
        for name in datasets:
            found += regret(predictor, chosen_on, name, budgets, valued_on=valued_on)
    return found

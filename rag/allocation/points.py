"""Measured cells as points: what they read and score on average."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rag.allocation.cells import CellTable, Measured
from rag.allocation.observations import Cell


@dataclass(frozen=True, slots=True)
class Point:
    """What a cell reads and scores, the means over questions.

    Args:
        cell: The cell.
        tokens: Input tokens.
        score: The metric.
        error: Standard error of the score; 0 where one question leaves it unknown.
    """

    cell: Cell
    tokens: float
    score: float
    error: float


def points_of(table: CellTable) -> dict[str, list[Point]]:
    """Return the cells of each data set as points."""
    return {
        name: [
            Point(cell, float(each.tokens.mean()), each.mean, _standard_error(each))
            for cell, each in cells.items()
        ]
        for name, cells in table.datasets.items()
    }


def _standard_error(measured: Measured) -> float:
    count = len(measured.values)
    return float(measured.values.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0

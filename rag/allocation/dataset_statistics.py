"""What an allocation model knows of a data set: level and spread of its scores, informativeness."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from rag.allocation.cells import Floats, Measured
from rag.allocation.observations import Cell
from rag.core.allocations import Allocation
from rag.core.errors import InputError

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

STAND_IN = "DRAG"
"""The strategy whose informativeness stands in for that of one without the cells for it."""

ANCHORS = (Allocation(0), Allocation(1), Allocation(0, examples=1))
"""The cells that informativeness compares: nothing, one document, one worked example."""


@dataclass(frozen=True, slots=True)
class DatasetStatistics:
    """What the model knows of a data set.

    Args:
        mean: Mean score of its cells, in units of the metric.
        sd: Their standard deviation, above 0; the denominator is the number of cells.
        informativeness: By strategy (i_doc, i_shot), in units of the metric.
    """

    mean: _Finite
    sd: _Positive
    informativeness: Mapping[str, tuple[_Finite, _Finite]]

    @classmethod
    def measured(
        cls, name: str, cells: Mapping[Cell, Measured], everything: Mapping[Cell, Measured]
    ) -> DatasetStatistics:
        """Return the statistics of measured cells.

        Args:
            name: The data set's name, for errors.
            cells: The cells that mean and standard deviation are of.
            everything: All cells of the data set, which informativeness may be found in.

        Raises:
            InputError: All cells score the same, or a cell for informativeness is missing.
        """
        means = mean_scores(cells)
        if np.ptp(means) == 0:
            raise InputError(
                f"{name}: its {len(means)} cells all score {means[0]:g}, so there is no spread to "
                "normalise by; measure cells that differ, or leave the data set out"
            )
        found = informativeness(name, everything, {strategy for strategy, _ in cells})
        return cls(float(means.mean()), float(means.std()), found)

    def gains(self, strategy: str) -> tuple[float, float]:
        """Return (i_doc, i_shot) of a strategy, or of the one that stands in for it.

        Raises:
            InputError: Neither is known.
        """
        for each in (strategy, STAND_IN):
            if each in self.informativeness:
                return self.informativeness[each]
        raise InputError(
            f"the data set has no informativeness for '{strategy}', nor for '{STAND_IN}', which "
            "would stand in; fit the model with their cells of no more than one document or example"
        )


def mean_scores(cells: Mapping[Cell, Measured]) -> Floats:
    """Return the mean score of each cell, shape (cells,)."""
    return np.array([each.mean for each in cells.values()])


def informativeness(
    name: str, cells: Mapping[Cell, Measured], needed: Set[str]
) -> dict[str, tuple[float, float]]:
    """Return how much the first document and the first worked example add, by strategy.

    i_doc = P(1, 0, 1) - P(0, 0, 1) and i_shot = P(0, 1, 1) - P(0, 0, 1) of arXiv 2410.04343,
    section 5, for theta = (k, m, n). P is the score as it is, not normalised, which the paper
    leaves open. All three cells are of one strategy.

    Args:
        name: The data set's name, for errors.
        cells: What was measured of it.
        needed: Strategies that need an informativeness: theirs or that of "DRAG".

    Raises:
        InputError: One of them lacks a cell, and "DRAG" lacks one, too.
    """
    found = {}
    for strategy in sorted({strategy for strategy, _ in cells}):
        scores = [cells[strategy, each].mean for each in ANCHORS if (strategy, each) in cells]
        if len(scores) == len(ANCHORS):
            bare, document, example = scores
            found[strategy] = (document - bare, example - bare)
    without = sorted(needed - found.keys())
    if without and STAND_IN not in found:
        missing = " and ".join(str(each) for each in ANCHORS if (STAND_IN, each) not in cells)
        raise InputError(
            f"{name}: the informativeness for '{without[0]}' needs the cell {missing} of "
            f"'{STAND_IN}'; measure it"
        )
    return found

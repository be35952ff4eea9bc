"""Mean scores of cells, and how far the choice of questions takes them from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from rag.allocation.cells import CellTable, Floats
from rag.allocation.observations import Cell
from rag.core.allocations import Allocation
from rag.core.errors import InputError

_Share = Annotated[float, Field(ge=0, le=1)]

_LEAST_OWN = 0.01
"""Even cells that always agree are not taken for exact."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a cell scored.

    Args:
        dataset: The data set's name.
        strategy: The strategy's name.
        allocation: What it was to use.
        mean: Mean of the metric, 0 to 1.
        questions: How many questions it is the mean over.
    """

    dataset: str
    strategy: str
    allocation: Allocation
    mean: _Share
    questions: Annotated[int, Field(ge=1)]

    @property
    def cell(self) -> Cell:
        """The strategy and the allocation."""
        return self.strategy, self.allocation


def scores_of(table: CellTable) -> tuple[Score, ...]:
    """Return the score of each cell of a table.

    Raises:
        InputError: A value is not between 0 and 1.
    """
    scores = []
    for dataset, cells in table.datasets.items():
        for cell, measured in cells.items():
            if not ((measured.values >= 0) & (measured.values <= 1)).all():
                raise InputError(
                    f"a value of {table.metric} on {dataset} at {cell[0]} {cell[1]} is not between "
                    "0 and 1; scale the metric"
                )
            scores.append(Score(dataset, *cell, measured.mean, len(measured.values)))
    return tuple(scores)


@dataclass(frozen=True, slots=True)
class Noise:
    """How means over a sample of questions differ from those over all questions.

    Some questions are hard whatever the allocation, and all cells of a data set are measured with
    the same ones: their means are too high or too low together. The rest is a cell's own. Both are
    shares of p (1 - p), p being the mean score of the data set: the most that values between 0 and
    1 can vary, and what they vary if they are 0 or 1. The variance of each single cell is not used:
    it depends on the very mean that it would weight, and is 0 where all values are alike.

    Args:
        shared: Share of p (1 - p) that questions vary by.
        own: Share that what is left varies by, cell by cell.
    """

    shared: _Share
    own: _Share

    @classmethod
    def estimate(cls, table: CellTable) -> Noise:
        """Estimate both, for all data sets, from the values of single questions.

        They are the components of variance of a two-way table of questions and cells (analysis of
        variance with random questions), averaged over data sets by their cells.

        Raises:
            InputError: No data set has two questions and two cells.
        """
        parts = []
        for cells in table.datasets.values():
            values = np.stack([each.values for each in cells.values()])  # (cells, questions)
            count, questions = values.shape
            if count < 2 or questions < 2:
                continue
            each, together = values.var(axis=1, ddof=1).mean(), values.mean(axis=0).var(ddof=1)
            own = (each - together) * count / (count - 1)
            parts.append(count * np.array([each - own, own, _most(values.mean(), questions)]))
        if not parts:
            raise InputError(
                "no data set has two questions and two cells, which is the least that an "
                "allocation model is fitted to; measure more"
            )
        shared, own, most = np.sum(parts, axis=0)
        return cls(*np.clip([shared / most, own / most], [0, _LEAST_OWN], 1).tolist())

    def covariance(self, scores: Sequence[Score]) -> Floats:
        """Return the covariance of the means, shape (scores, scores).

        Where cells of a data set were measured with unlike many questions, those of the smaller
        sample are taken for a part of the larger one.
        """
        means = np.array([each.mean for each in scores])
        questions = np.array([each.questions for each in scores])
        names = np.array([each.dataset for each in scores])
        covariance = np.zeros((len(scores), len(scores)))
        for name in dict.fromkeys(names.tolist()):
            of = np.flatnonzero(names == name)
            most = _most(means[of].mean(), questions[of].max())
            inverse = 1 / questions[of]
            shared = self.shared * np.minimum.outer(inverse, inverse)
            covariance[np.ix_(of, of)] = most * (shared + np.diag(self.own * inverse))
        return covariance


def _most(mean: float, questions: int) -> float:
    """Return p (1 - p), with p as if a right and a wrong answer had been seen besides."""
    p = (mean * questions + 1) / (questions + 2)
    return p * (1 - p)

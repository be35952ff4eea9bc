"""What a model of compute allocation says of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rag.allocation.observations import Cell


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a cell is expected to score: mean, with the ends of a 95 % interval of the mean.

    Args:
        mean: Mean of the metric over questions.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float


class Predictor(Protocol):
    """What predicts the scores of cells, measured or not."""

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        """Return what each cell is expected to score on a data set, in the order of the cells."""
        ...

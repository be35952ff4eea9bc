"""How much of what cells score is explained by what they were predicted to score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def r2(datasets: Sequence[str], measured: Sequence[float], predicted: Sequence[float]) -> float:
    """Return the share of the variance of cells around the mean of their data set.

    To know which data sets are harder explains nothing of it; predictions worse than that are below
    0.

    Args:
        datasets: The data set of each cell.
        measured: Mean of the metric of each cell.
        predicted: The same, predicted.

    Returns:
        The share; NaN where all cells of each data set score the same.
    """
    names, truth = np.array(datasets), np.array(measured)
    levels = {name: truth[names == name].mean() for name in set(datasets)}
    spread = float(((truth - [levels[name] for name in datasets]) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread else math.nan

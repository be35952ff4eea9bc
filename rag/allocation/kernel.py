"""How alike the scores of two cells are expected to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rag.allocation.cells import Floats
from rag.allocation.observations import Cell
from rag.core.allocations import Allocation

Place: TypeAlias = tuple[str, Cell]
"""A data set and a cell."""

Names: TypeAlias = npt.NDArray[np.str_]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_LEVEL = 0.5
"""Standard deviation of data sets' levels: any level of a metric between 0 and 1 is likely."""
_REACH = 4.0
"""Distance along an axis, in natural logarithms, over which scores are much alike."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Covariance of the expected scores of two cells, each of some data set.

    A score is the level of its data set plus a surface over allocations. The covariance of surfaces
    is a product, so that each factor can keep two cells apart:

    - data sets and strategies have surfaces of their own that are alike (the intrinsic model of
      coregionalisation; Bonilla, Chai and Williams, NIPS 2007, with one likeness for all pairs);
    - each axis gives a factor 1 + variance x Matérn-3/2 correlation: the 1 lets effects of one axis
      add to those of the others, the products let them interact (ANOVA kernel).

    Axes are the logarithms of documents k, examples m and steps n, and of k (m + 1), the passages
    of a prompt: by its length a long prompt can do harm that neither k nor m does alone. That is in
    proportion to a prompt's tokens, but known of cells that were not measured, too. The first
    document and the first example are a change of kind, so they are a unit further along their
    axes. What of a cell follows from none of this is `roughness`.

    The defaults are what is expected before anything is measured.

    Args:
        variance: Variance of a surface, before the factors; units of the metric squared.
        datasets: How unlike the surfaces of two data sets are: their correlation is exp(-datasets).
        strategies: The same of two strategies.
        documents: Variance along k, as a multiple of `variance`; likewise the following.
        examples: Along m.
        steps: Along n.
        passages: Along k (m + 1).
        roughness: Variance of what is a cell's own.
    """

    variance: _Positive = 0.01
    datasets: _Positive = 0.7
    strategies: _Positive = 0.7
    documents: _Positive = 2.0
    examples: _Positive = 2.0
    steps: _Positive = 2.0
    passages: _Positive = 2.0
    roughness: _Positive = 0.1

    def covariance(self, rows: Sequence[Place], columns: Sequence[Place]) -> Floats:
        """Return the covariance of the expected scores, shape (rows, columns)."""
        return self.gradient(rows, columns)[0]

    def gradient(self, rows: Sequence[Place], columns: Sequence[Place]) -> tuple[Floats, Floats]:
        """Return the covariance and its derivatives.

        Returns:
            The covariance, shape (rows, columns), and its derivative with respect to the logarithm
            of each parameter, in their order, shape (8, rows, columns).
        """
        our_datasets, our_strategies, ours = _arrays(rows)
        their_datasets, their_strategies, theirs = _arrays(columns)
        datasets = our_datasets[:, None] != their_datasets
        strategies = our_strategies[:, None] != their_strategies
        distances = np.abs(ours[:, :, None] - theirs[:, None])
        variances = np.array([self.documents, self.examples, self.steps, self.passages])
        scaled = np.sqrt(3) * distances / _REACH
        effects = variances[:, None, None] * (1 + scaled) * np.exp(-scaled)
        apart = self.datasets * datasets + self.strategies * strategies
        likeness = self.variance * np.exp(-apart)
        smooth = likeness * (1 + effects).prod(axis=0)
        own = likeness * self.roughness * (~strategies & (distances == 0).all(axis=0))
        surface = smooth + own
        derivatives = [
            surface,
            -self.datasets * datasets * surface,
            -self.strategies * strategies * surface,
            *(smooth * effects / (1 + effects)),  # one for each axis
            own,
        ]
        return _LEVEL**2 * ~datasets + surface, np.array(derivatives)

    @property
    def total(self) -> float:
        """Variance of any score before anything is measured."""
        here = ("", ("", Allocation(0)))
        return float(self.covariance([here], [here]).item())

    @property
    def logarithms(self) -> Floats:
        """The logarithm of each parameter, shape (8,)."""
        return np.log(astuple(self))


def _arrays(places: Sequence[Place]) -> tuple[Names, Names, Floats]:
    """Return data sets and strategies, shape (places,), and where they are, shape (4, places)."""
    datasets = np.array([dataset for dataset, _ in places], dtype=np.str_)
    strategies = np.array([strategy for _, (strategy, _) in places], dtype=np.str_)
    theta = [astuple(allocation) for _, (_, allocation) in places]
    k, m, n = np.array(theta, dtype=np.float64).reshape(-1, 3).T
    axes = [np.log1p(k) + (k > 0), np.log1p(m) + (m > 0), np.log(n), np.log1p(k * (m + 1))]
    return datasets, strategies, np.array(axes)

"""A Gaussian process that saw values at some places: what it expects elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.allocation.cells import Floats


@dataclass(frozen=True, slots=True)
class Posterior:
    """What follows from noisy values (Rasmussen and Williams 2006, section 2.2).

    Args:
        covariance: Covariance of the true values, shape (places, places).
        precision: Inverse of the covariance of the noisy values, shape (places, places).
        weights: What values elsewhere are the weighted sum of their covariances with, (places,).
    """

    covariance: Floats
    precision: Floats
    weights: Floats

    @classmethod
    def of(cls, covariance: Floats, noise: Floats, values: Floats) -> Posterior:
        """Return the posterior of values whose expectation was 0.

        Args:
            covariance: Covariance of the true values, shape (places, places).
            noise: Covariance of the errors of measurement, shape (places, places).
            values: What was measured, shape (places,).
        """
        precision = np.linalg.inv(covariance + noise).astype(np.float64)
        return cls(covariance, precision, precision @ values)

    def expect(self, across: Floats, variance: float) -> tuple[Floats, Floats]:
        """Return means and standard deviations of true values elsewhere, each of shape (others,).

        Args:
            across: Covariance of the values there with those at the places, (others, places).
            variance: Variance of a value before anything is measured.
        """
        explained = np.einsum("ij,jk,ik->i", across, self.precision, across, optimize=True)
        return across @ self.weights, np.sqrt(np.maximum(variance - explained, 0))

    def without(self, fold: Sequence[int]) -> Floats:
        """Return the means at some of the places that all others give, shape (fold,).

        It takes no inverse of what remains (Ginsbourger and Schärer, arXiv 2101.03108). They are
        means of the true values: an error that the places share is not predicted.
        """
        inside = np.linalg.solve(self.precision[np.ix_(fold, fold)], self.weights[fold])
        return self.covariance[fold] @ (self.weights - self.precision[:, fold] @ inside)

"""Least squares: coefficients, and how well the data determine them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rag.allocation.cells import Floats
from rag.allocation.sigmoid import Sigmoid
from rag.core.errors import InputError
from rag.core.extras import require


@dataclass(frozen=True, slots=True)
class Estimate:
    """Coefficients that were fitted.

    A coefficient is 0, and so is its variance, if its term is a combination of those before it:
    the data do not tell them apart.

    Args:
        coefficients: Shape (terms,).
        covariance: Shape (terms, terms).
    """

    coefficients: Floats
    covariance: Floats


def fit_line(terms: Floats, targets: Floats) -> Estimate:
    """Fit terms @ coefficients to targets by ordinary least squares.

    Args:
        terms: Shape (observations, terms).
        targets: Shape (observations,).

    Raises:
        InputError: There are too few observations.
    """
    basis = _basis(terms)
    chosen = terms @ basis
    _check(chosen, chosen.shape[1])
    found = np.asarray(np.linalg.lstsq(chosen, targets)[0], dtype=np.float64)
    return _estimate(basis, found, chosen, chosen @ found - targets, len(found))


def fit_sigmoid(
    terms: Floats, targets: Floats, sigmoid: Sigmoid, start: Estimate
) -> tuple[Sigmoid, Estimate]:
    """Fit sigmoid(terms @ coefficients) to targets by least squares, the curve's ends included.

    Its steepness and shift stay as they are: the coefficients, one of which has to be a constant,
    make up for any others.

    Args:
        terms: Shape (observations, terms).
        targets: Shape (observations,), with mean 0 and standard deviation 1.
        sigmoid: The curve to begin with; it ends above and below 0.
        start: The coefficients to begin with.

    Returns:
        The curve, and the coefficients, whose covariance takes the curve as known.

    Raises:
        InputError: There are too few observations.
        MissingExtra: The extra `analysis` is not installed.
    """
    optimize = require("scipy.optimize", extra="analysis", needed_for="refitting the sigmoid")
    basis = _basis(terms)
    chosen = terms @ basis
    _check(chosen, chosen.shape[1] + 2)

    def curve(unknown: Floats) -> Sigmoid:
        floor, ceiling = unknown[:2].tolist()
        return replace(sigmoid, floor=floor, height=ceiling - floor)

    def residuals(unknown: Floats) -> Floats:
        return curve(unknown)(chosen @ unknown[2:]) - targets

    first = [sigmoid.floor, sigmoid.floor + sigmoid.height, *(start.coefficients @ basis)]
    free = np.full(chosen.shape[1], np.inf)
    # Either end is on its side of the mean. A curve ten deviations high is as good as a line.
    bounds = [-10, 0.1, *-free], [-0.1, 10, *free]
    found = optimize.least_squares(residuals, first, bounds=bounds).x
    slopes = curve(found).slope(chosen @ found[2:])[:, np.newaxis] * chosen
    return curve(found), _estimate(basis, found[2:], slopes, residuals(found), len(found))


def _basis(terms: Floats) -> Floats:
    """Return what selects the terms that are no combination of others, shape (terms, chosen)."""
    chosen: list[int] = []
    for each in range(terms.shape[1]):
        if np.linalg.matrix_rank(terms[:, [*chosen, each]]) > len(chosen):
            chosen.append(each)
    return np.eye(terms.shape[1])[:, chosen]


def _check(terms: Floats, fitted: int) -> None:
    if len(terms) <= fitted:
        raise InputError(f"{len(terms)} cells do not determine {fitted} parameters; measure more")


def _estimate(
    basis: Floats, found: Floats, jacobian: Floats, residuals: Floats, fitted: int
) -> Estimate:
    """Return all coefficients, and the covariance of those chosen: s^2 (J^T J)^-1."""
    variance = residuals @ residuals / (len(residuals) - fitted)
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian)
    return Estimate(basis @ found, basis @ covariance @ basis.T)

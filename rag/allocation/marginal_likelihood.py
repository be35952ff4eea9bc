"""Which kernel makes the scores that were measured most likely."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.allocation.cells import Floats
from rag.allocation.kernel import Kernel, Place
from rag.core.extras import require

_SPREAD = 1.0
"""Standard deviation, before anything is measured, of the logarithm of each parameter."""


def most_likely_kernel(places: Sequence[Place], scores: Floats, noise: Floats) -> Kernel:
    """Fit a kernel by the marginal likelihood of scores (Rasmussen and Williams 2006, section 5.4).

    The likelihood is weighted with what is expected of the parameters, independent log-normal
    distributions around the defaults, so that a parameter that the scores say nothing about, like
    how unlike strategies are where there is only one, stays where it is.

    Args:
        places: Where the scores were measured.
        scores: What was, less what is expected of any place, shape (places,).
        noise: Covariance of the errors of measurement, shape (places, places).

    Raises:
        MissingExtra: The extra `analysis` is not installed.
    """
    optimize = require("scipy.optimize", extra="analysis", needed_for="fitting an allocation model")
    expected = Kernel().logarithms

    def loss(logarithms: Floats) -> tuple[float, Floats]:
        """Return the negative logarithm of the posterior density, and its gradient."""
        covariance, derivatives = Kernel(*np.exp(logarithms)).gradient(places, places)
        covariance += noise
        precision = np.linalg.inv(covariance)
        weights = precision @ scores
        surprise = (logarithms - expected) / _SPREAD
        _, log_determinant = np.linalg.slogdet(covariance)
        value = (scores @ weights + log_determinant + surprise @ surprise) / 2
        slope = np.tensordot(derivatives, precision - np.outer(weights, weights)) / 2
        return float(value), slope + surprise / _SPREAD

    # A parameter further out than this is as good as none, or as one without bounds.
    bounds = [(each - 4 * _SPREAD, each + 4 * _SPREAD) for each in expected]
    found = optimize.minimize(loss, expected, jac=True, method="L-BFGS-B", bounds=bounds)
    return Kernel(*np.exp(found.x).tolist())

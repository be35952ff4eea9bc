"""The curve between the linear part of an allocation model and the score it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rag.allocation.cells import Floats

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """sigma(x) = height / (1 + exp(-steepness (x + shift))) + floor.

    Args:
        height: Distance between the ends of its range, above 0.
        steepness: How fast it rises, above 0.
        shift: Its middle is at x = -shift.
        floor: Lower end of its range.
    """

    height: _Positive
    steepness: _Positive
    shift: _Finite
    floor: _Finite

    def __call__(self, x: Floats) -> Floats:
        """Return sigma(x), element by element."""
        # With tanh no x overflows.
        return self.floor + self.height * (1 + np.tanh(self.steepness * (x + self.shift) / 2)) / 2

    def slope(self, x: Floats) -> Floats:
        """Return the derivative of sigma at x, element by element."""
        share = (self(x) - self.floor) / self.height
        return self.height * self.steepness * share * (1 - share)

    def inverse(self, y: Floats) -> Floats:
        """Return the x with sigma(x) = y, element by element.

        There is one between floor and floor + height only, and it is without bounds towards both.
        So a y outside, or closer to an end than `MARGIN` of the height, is taken for the y that
        far inside: it becomes a finite x, and no single score has a leverage without bounds.
        """
        share = np.clip((y - self.floor) / self.height, MARGIN, 1 - MARGIN)
        logit: Floats = np.log(share / (1 - share))
        return logit / self.steepness - self.shift

    def clipped(self, y: Floats) -> npt.NDArray[np.bool_]:
        """Return which values `inverse` moves inside."""
        return np.abs((y - self.floor) / self.height - 0.5) > 0.5 - MARGIN


PUBLISHED_SIGMOID = Sigmoid(height=3.30, steepness=1.81, shift=0.46, floor=-2.18)
"""The curve of arXiv 2410.04343, section 5, for z-normalised scores: from -2.18 to 1.12."""

"""How the attention to contexts that were encoded apart is adjusted."""

from __future__ import annotations

from dataclasses import dataclass

from rag.core.errors import InputError


@dataclass(frozen=True, slots=True)
class ApeSettings:
    """Settings of adaptive parallel encoding (APE, arXiv 2502.05431, section 4).

    With temperature 1 and scale 1 attention is ordinary softmax over all that was encoded: plain
    parallel encoding.

    Args:
        temperature: Divides the attention scores of context tokens; below 1 sharpens.
        scale: Times the temperature, it multiplies the logarithm of the contexts' attention mass.
        sequential: Contexts nearest the question that are read again, in sequence, after the
            others; 0 reads all of them in parallel.

    Raises:
        InputError: A value is out of its range.
    """

    temperature: float = 1.0
    scale: float = 1.0
    sequential: int = 0

    def __post_init__(self) -> None:
        """Refuse values that the formula has no meaning for."""
        for name in ("temperature", "scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.sequential < 0:
            raise InputError(f"sequential is {self.sequential}; it must be at least 0")

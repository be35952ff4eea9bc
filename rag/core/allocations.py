"""How much of each kind of inference a pipeline may use for a question."""

from __future__ import annotations

from dataclasses import dataclass, fields

from rag.core.errors import InputError


@dataclass(frozen=True, slots=True, order=True)
class Allocation:
    """The parameters theta = (k, m, n) of arXiv 2410.04343, section 3.1.

    Args:
        documents: Passages that a search adds to the prompt; k of the paper.
        examples: Worked examples in the prompt, each with as many passages; m of the paper.
        steps: Sub-questions at most; n of the paper, 1 for a strategy that asks none.

    Raises:
        InputError: A number is below what there can be.
    """

    documents: int
    examples: int = 0
    steps: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for each, least in zip(fields(self), (0, 0, 1), strict=True):
            value = getattr(self, each.name)
            if value < least:
                raise InputError(f"an allocation of {value} {each.name}; it is at least {least}")

    def __str__(self) -> str:
        """Return the numbers as the paper's letters name them."""
        return f"k={self.documents} m={self.examples} n={self.steps}"

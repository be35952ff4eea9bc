"""Which allocations to measure, in words."""

from __future__ import annotations

import re
from itertools import product

from rag.allocation.observations import Cell
from rag.core.allocations import Allocation
from rag.core.errors import InputError

_NUMBERS = re.compile(r"([kmn])=([0-9]{1,6}(?:,[0-9]{1,6})*)\Z")
_DEFAULTS = {"k": "0", "m": "0", "n": "1"}


def parse_grid(text: str) -> list[Cell]:
    """Return the cells that a text names, the cheaper ones first.

    Args:
        text: Strategies with their numbers of documents (k), worked examples (m) and steps (n), as
            in 'DRAG k=0,1,5 m=0,2; IterDRAG k=2,5 n=1,3'; of each strategy all combinations.

    Raises:
        InputError: The text is no grid.
    """
    cells: set[Cell] = set()
    for part in filter(None, map(str.strip, text.split(";"))):
        strategy, *words = part.split()
        if "=" in strategy:
            raise InputError(f"'{strategy}' in the grid stands where a strategy has to be named")
        numbers: dict[str, str] = {}
        for word in words:
            match = _NUMBERS.match(word)
            if not match:
                raise InputError(
                    f"'{word}' in the grid is not like k=0,1,5 (documents), m=0,2 (worked "
                    "examples) or n=1,3 (steps)"
                )
            if match[1] in numbers:
                raise InputError(f"'{word}' in the grid gives {strategy} a second {match[1]}")
            numbers[match[1]] = match[2]
        values = [map(int, (_DEFAULTS | numbers)[name].split(",")) for name in "kmn"]
        cells |= {(strategy, Allocation(*each)) for each in product(*values)}
    if not cells:
        raise InputError("the grid is empty; give one such as 'DRAG k=0,1,5 m=0,2'")
    return sorted(cells, key=cheap_first)


def cheap_first(cell: Cell) -> tuple[int, Cell]:
    """Order cells by about what they take: an example has as many documents as the question."""
    _, each = cell
    return (each.documents + 1) * (each.examples + 1) * each.steps**2, cell

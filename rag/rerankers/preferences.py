"""What orders of some items say about all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


class Preferences:
    """Which items come before which, as stated or as follows from what was stated.

    Items are numbered from 0, best so far first. Statements may contradict each other; items that
    come before each other both ways are ties. Sets of items are bits of an integer, so that a
    statement about n items takes n steps for each pair of neighbours in it.

    Args:
        count: How many items there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        # Of each item: the items it comes before or ties with, and those that come before it or
        # tie with it. It is in both itself.
        self._after = [1 << item for item in range(count)]
        self._before = [1 << item for item in range(count)]

    def add(self, order: Sequence[int]) -> None:
        """Take note that items come in this order."""
        for first, second in pairwise(order):
            if self._after[first] >> second & 1:
                continue
            above, below = self._before[first], self._after[second]
            for item in _items(above):
                self._after[item] |= below
            for item in _items(below):
                self._before[item] |= above

    def better(self, item: int) -> int:
        """Return how many items come before an item and do not tie with it."""
        return (self._before[item] & ~self._after[item]).bit_count()

    def contenders(self, top: int) -> list[int]:
        """Return the items that may be among the first so many: fewer come before them."""
        return [item for item in range(self.count) if self.better(item) < top]

    def open(self, top: int) -> list[int]:
        """Return contenders whose place among the contenders is not known, most promising first.

        Of items that tie only the first is there. If there are none, the first `top` items and
        their order are settled: every other item has `top` items before it, and no further
        statement changes that unless it contradicts an earlier one.
        """
        contenders = self.contenders(top)
        mask = sum(1 << item for item in contenders)
        unknown = [item for item in contenders if mask & ~self._related(item)]
        alone = [item for item in unknown if _lowest(self._ties(item)) == item]
        return sorted(alone, key=lambda item: (self.better(item), item))

    def compared(self, one: int, other: int) -> bool:
        """Say whether it is known which of two items comes first, or that they tie."""
        return bool(self._related(one) >> other & 1)

    def ranking(self) -> list[int]:
        """Return all items in an order that agrees with what is known.

        Where nothing is known they stay as they came; an item goes up only to pass those that it
        comes before.
        """

        def key(item: int) -> tuple[int, int, int]:
            return _lowest(self._after[item]), self.better(item), item

        return sorted(range(self.count), key=key)

    def _related(self, item: int) -> int:
        return self._after[item] | self._before[item]

    def _ties(self, item: int) -> int:
        return self._after[item] & self._before[item]


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _items(mask: int) -> list[int]:
    items = []
    while mask:
        items.append(_lowest(mask))
        mask &= mask - 1
    return items

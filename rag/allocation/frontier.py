"""Which of several choices are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence


def frontier(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Return the Pareto frontier: the choices that score more than all that cost no more.

    Of choices with the same cost and score it is the first.

    Args:
        costs: What each choice costs.
        scores: What each choice scores.

    Returns:
        Positions, from the cheapest to the dearest; their scores rise.
    """
    found: list[int] = []
    for each in sorted(range(len(costs)), key=lambda each: (costs[each], -scores[each])):
        if not found or scores[each] > scores[found[-1]]:
            found.append(each)
    return found

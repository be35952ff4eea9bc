"""Scores that can be compared across windows."""

from __future__ import annotations

from collections.abc import Sequence

Observation = tuple[Sequence[int], Sequence[float]]
"""Places of a window's passages, and how likely each was found to be the best, as logarithms."""


def calibrated(order: Sequence[int], observations: Sequence[Observation]) -> list[float]:
    """Return a score for each place of an order, none higher than the one before.

    How likely a model finds a passage to be the best of a window depends on the others in it. By
    Luce's choice axiom the differences do not: log p(i) - log p(j) = u(i) - u(j) in every window
    that holds both. So one utility u a passage and one offset a window are fitted to all
    log-probabilities by least squares; then scores are raised or lowered as little as needed to
    follow the order (isotonic regression), which later windows may have settled otherwise. They
    can be compared within a question.

    Where not every passage was in a window with log-probabilities, or windows share no passages,
    so that there is no common scale, the score is 1 / rank.

    Args:
        order: Places, best first.
        observations: The windows that have log-probabilities.
    """
    utilities = fitted_utilities(observations)
    if not utilities or any(place not in utilities for place in order):
        return [1 / rank for rank in range(1, len(order) + 1)]
    return _falling([utilities[place] for place in order])


def fitted_utilities(observations: Sequence[Observation]) -> dict[int, float]:
    """Return the utility of each place, with mean 0; none where windows have no common scale."""
    import numpy as np

    places = sorted({place for window, _ in observations for place in window})
    if not places:
        return {}
    row = {place: number for number, place in enumerate(places)}
    # In the sums over windows that each place is in, utilities are eliminated: what remains are
    # equations for the offsets alone, few of them.
    seen = np.zeros((len(places), len(observations)))
    logprobs = np.zeros_like(seen)
    for number, (window, values) in enumerate(observations):
        rows = [row[place] for place in window]
        seen[rows, number] = 1
        logprobs[rows, number] = values
    times = seen.sum(axis=1, keepdims=True)
    means = logprobs.sum(axis=1, keepdims=True) / times
    laplacian = np.diag(seen.sum(axis=0)) - seen.T @ (seen / times)
    if np.linalg.matrix_rank(laplacian) < len(observations) - 1:
        return {}
    offsets = np.linalg.lstsq(laplacian, (seen * (logprobs - means)).sum(axis=0), rcond=None)[0]
    utilities = means[:, 0] - (seen / times) @ offsets
    utilities -= utilities.mean()
    return dict(zip(places, utilities.tolist(), strict=True))


def _falling(values: Sequence[float]) -> list[float]:
    """Return the numbers nearest to some (least squares) of which none is above the one before."""
    pools: list[tuple[float, int]] = []
    for value in values:
        total, size = value, 1
        while pools and pools[-1][0] / pools[-1][1] < total / size:
            before, count = pools.pop()
            total, size = total + before, size + count
        pools.append((total, size))
    return [total / size for total, size in pools for _ in range(size)]

"""Whether one run is better than another, or only luckier with its queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag.core.errors import InputError

_EXACT_QUERIES = 16
_CHUNK = 1_000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric's values of one run against those of another, over the same queries.

    Args:
        queries: How many there are.
        mean: Mean of the run.
        baseline_mean: Mean of the baseline.
        difference: Mean of the run minus mean of the baseline.
        low: Lower end of the 95 % confidence interval of the difference.
        high: Upper end.
        p_value: How often chance alone would give a difference at least as large.
        wins: Queries on which the run is better.
        losses: Queries on which the baseline is.
    """

    queries: int
    mean: float
    baseline_mean: float
    difference: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int


def compare(
    values: Mapping[str, float],
    baseline: Mapping[str, float],
    *,
    samples: int = 20_000,
    seed: int = 0,
) -> Comparison:
    """Compare the per-query values of two runs.

    Args:
        values: The run's value for each query.
        baseline: The baseline's value for each of the same queries.
        samples: Random samples, for the test and for the interval.
        seed: Makes them repeatable.

    Raises:
        InputError: The runs have different queries, or none.
    """
    if values.keys() != baseline.keys() or not values:
        raise InputError(
            f"runs of {len(values)} and {len(baseline)} queries, of which they share "
            f"{len(values.keys() & baseline)}, cannot be compared; evaluate both on one data set"
        )
    ours = np.array([values[each] for each in values])
    theirs = np.array([baseline[each] for each in values])
    differences = ours - theirs
    low, high = bootstrap_interval(differences, samples=samples, seed=seed)
    return Comparison(
        queries=len(differences),
        mean=float(ours.mean()),
        baseline_mean=float(theirs.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=randomization_test(differences, samples=samples, seed=seed),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
    )


def randomization_test(
    differences: npt.NDArray[np.float64], *, samples: int = 20_000, seed: int = 0
) -> float:
    """Return the two-sided p-value of the paired randomisation test.

    Were both runs alike, each query's difference could as well have the other sign: the p-value is
    the share of sign assignments whose mean is as far from 0 as the real one (Fisher; Smucker,
    Allan and Carterette, CIKM 2007). All assignments are tried where at most 16 queries differ.

    Args:
        differences: One for each query, shape (queries,).
        samples: Random assignments where there are too many to try all.
        seed: Makes them repeatable.
    """
    # A query without a difference has no sign to flip.
    changed = differences[differences != 0]
    # Sums of the same numbers in another order are equal up to rounding.
    bar = abs(changed.sum()) * (1 - 1e-9)
    if len(changed) <= _EXACT_QUERIES:
        bits = np.arange(2 ** len(changed))[:, None] >> np.arange(len(changed)) & 1
        return float((abs((2 * bits - 1) @ changed) >= bar).mean())
    rng = np.random.default_rng(seed)
    extreme = 0
    for size in _chunks(samples):
        signs = 2 * rng.integers(0, 2, (size, len(changed)), np.int8) - 1
        extreme += int((abs(signs @ changed) >= bar).sum())
    # The real assignment is one of those that chance could have given.
    return (extreme + 1) / (samples + 1)


def bootstrap_interval(
    differences: npt.NDArray[np.float64], *, samples: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the mean (Efron 1979).

    Args:
        differences: One for each query, shape (queries,).
        samples: Random samples of the queries, drawn with replacement.
        seed: Makes them repeatable.
    """
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            rng.choice(differences, (size, len(differences))).mean(axis=1)
            for size in _chunks(samples)
        ]
    )
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _chunks(samples: int) -> list[int]:
    """Split, so that 1,000 samples of the queries are in memory at once."""
    full, rest = divmod(samples, _CHUNK)
    return [_CHUNK] * full + [rest] * (rest > 0)

import numpy as np
import pytest

from rag.allocation.posterior import Posterior

rng = np.random.default_rng(0)
ROOT = rng.normal(size=(12, 15))
COVARIANCE = ROOT @ ROOT.T
NOISE = np.diag(rng.uniform(0.5, 2, size=9)) + 0.3
VALUES = rng.normal(size=9)
SEEN, ELSEWHERE = slice(9), slice(9, 12)


def test_it_is_the_normal_distribution_given_the_values() -> None:
    posterior = Posterior.of(COVARIANCE[SEEN, SEEN], NOISE, VALUES)
    across = COVARIANCE[ELSEWHERE, SEEN]
    variances = np.diag(COVARIANCE)[ELSEWHERE]
    gain = across @ np.linalg.inv(COVARIANCE[SEEN, SEEN] + NOISE)
    remaining = COVARIANCE[ELSEWHERE, ELSEWHERE] - gain @ across.T
    for position, variance in enumerate(variances):
        mean, deviation = posterior.expect(across[[position]], variance)
        assert mean == pytest.approx(gain[position] @ VALUES)
        assert deviation == pytest.approx(np.sqrt(remaining[position, position]))


@pytest.mark.parametrize("fold", [[0], [4, 2], [0, 1, 2, 3, 5, 6, 7], list(range(9))])
def test_leaving_out_is_what_a_fit_without_gives(fold: list[int]) -> None:
    posterior = Posterior.of(COVARIANCE[SEEN, SEEN], NOISE, VALUES)
    rest = [each for each in range(9) if each not in fold]
    smaller = Posterior.of(COVARIANCE[np.ix_(rest, rest)], NOISE[np.ix_(rest, rest)], VALUES[rest])
    expected, _ = smaller.expect(COVARIANCE[np.ix_(fold, rest)], 1e9)
    np.testing.assert_allclose(posterior.without(fold), expected, atol=1e-9)


def test_nothing_asked_nothing_answered() -> None:
    means, deviations = Posterior.of(COVARIANCE[SEEN, SEEN], NOISE, VALUES).expect(
        np.empty((0, 9)), 1.0
    )
    assert means.shape == deviations.shape == (0,)

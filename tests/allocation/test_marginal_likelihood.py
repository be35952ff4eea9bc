import sys
from itertools import product

import numpy as np
import pytest

from rag.allocation.kernel import Kernel, Place
from rag.allocation.marginal_likelihood import most_likely_kernel
from rag.core.allocations import Allocation
from rag.core.errors import MissingExtra

PLACES: list[Place] = [
    (dataset, ("DRAG", Allocation(k, m)))
    for dataset, k, m in product(["a", "b", "c"], (0, 1, 2, 5, 10, 20), (0, 1, 2, 4))
]
NOISE = 1e-4 * np.eye(len(PLACES))


def drawn(kernel: Kernel, seed: int) -> np.ndarray:
    covariance = kernel.covariance(PLACES, PLACES) + NOISE
    return np.random.default_rng(seed).multivariate_normal(np.zeros(len(PLACES)), covariance)


def test_what_made_the_scores_is_found_again() -> None:
    alike = Kernel(variance=0.02, datasets=0.02, roughness=0.005)
    unlike = Kernel(variance=0.02, datasets=3.0, roughness=2.0)
    found = [most_likely_kernel(PLACES, drawn(each, 1), NOISE) for each in (alike, unlike)]
    assert found[0].datasets < 0.15 < 1 < found[1].datasets
    assert found[0].roughness < 0.2 < 0.5 < found[1].roughness


def test_an_axis_without_effect_is_told_from_one_with() -> None:
    scores = np.array([0.1 * np.log1p(cell[1].documents) for _, cell in PLACES])
    found = most_likely_kernel(PLACES, scores - scores.mean(), NOISE)
    assert found.documents > 5 * found.examples


def test_what_the_scores_do_not_show_stays() -> None:
    found = most_likely_kernel(PLACES, drawn(Kernel(), 0), NOISE)
    # One strategy, without steps: its cells tell nothing of other strategies.
    assert found.strategies == pytest.approx(Kernel().strategies)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtra, match=r"ragmeter\[analysis\]"):
        most_likely_kernel(PLACES, np.zeros(len(PLACES)), NOISE)

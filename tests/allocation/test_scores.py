import numpy as np
import pytest

from rag.allocation.cells import CellTable, Measured
from rag.allocation.observations import Cell
from rag.allocation.scores import Noise, Score, scores_of
from rag.core.allocations import Allocation
from rag.core.errors import InputError


def cell(documents: int) -> Cell:
    return "DRAG", Allocation(documents)


def table(values: np.ndarray, dataset: str = "hotpotqa") -> CellTable:
    """Return a table of values, shape (cells, questions)."""
    nothing = np.zeros(values.shape[1])
    ids = tuple(f"q{each}" for each in range(values.shape[1]))
    cells = {
        cell(each): Measured(ids, row, nothing, nothing, nothing, nothing)
        for each, row in enumerate(values.astype(np.float64))
    }
    return CellTable("em", {dataset: cells})


def test_scores_are_means_over_questions() -> None:
    assert scores_of(table(np.array([[0, 1, 1, 1], [0, 0, 0, 1]]))) == (
        Score("hotpotqa", "DRAG", Allocation(0), 0.75, 4),
        Score("hotpotqa", "DRAG", Allocation(1), 0.25, 4),
    )


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_values_outside_0_and_1_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"em on hotpotqa at DRAG k=1 m=0 n=1 is not between 0"):
        scores_of(table(np.array([[0.0, 1.0], [0.5, value]])))


def test_the_parts_of_the_variance_are_found_again() -> None:
    rng = np.random.default_rng(0)
    questions = rng.normal(0, 0.05, size=2000)
    values = 0.5 + questions + rng.normal(0, 0.1, size=(10, 2000))
    noise = Noise.estimate(table(np.clip(values, 0, 1)))
    assert noise.shared * 0.25 == pytest.approx(0.05**2, rel=0.1)
    assert noise.own * 0.25 == pytest.approx(0.1**2, rel=0.1)


def test_the_noise_of_means_is_what_samples_of_questions_show() -> None:
    rng = np.random.default_rng(0)
    hardness = rng.uniform(0, 0.8, size=4000)
    population = rng.uniform(size=(6, 4000)) > hardness
    noise = Noise.estimate(table(population))
    drawn = rng.integers(0, 4000, size=(3000, 30))
    means = population[:, drawn].mean(axis=2)
    covariance = noise.covariance(scores_of(table(population[:, drawn[0]])))
    np.testing.assert_allclose(covariance, np.cov(means), rtol=0.25)


def test_noise_is_never_0() -> None:
    noise = Noise.estimate(table(np.array([[0, 0, 0], [0, 0, 0]])))
    covariance = noise.covariance(scores_of(table(np.array([[0, 0, 0], [0, 0, 0]]))))
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_data_sets_have_questions_of_their_own() -> None:
    scores = [
        Score("a", *cell(0), 0.5, 20),
        Score("b", *cell(0), 0.5, 20),
        Score("a", *cell(1), 0.5, 80),
    ]
    covariance = Noise(shared=0.6, own=0.4).covariance(scores)
    assert covariance[0, 1] == covariance[1, 2] == 0
    # The 20 questions count as some of the 80.
    assert covariance[0, 2] == pytest.approx(0.6 * 0.25 / 80)
    assert covariance[0, 0] == pytest.approx(0.25 / 20)
    assert covariance[2, 2] == pytest.approx(0.25 / 80)


def test_noise_takes_two_questions_and_two_cells() -> None:
    for values in (np.array([[0, 1, 1]]), np.array([[0], [1]])):
        with pytest.raises(InputError, match="two questions and two cells"):
            Noise.estimate(table(values))

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from rag.allocation.active import Step, needed, next_cells, replay_profile, starting_cells
from rag.allocation.cells import CellTable
from rag.allocation.generalisation import ANCHOR_CELLS
from rag.allocation.grid_search import GridSearch
from rag.allocation.model import AllocationModel
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction
from rag.allocation.regret import halves, log_budgets
from rag.allocation.tokens import Needs, TokenModel
from rag.core.allocations import Allocation
from tests.allocation.simulated import DRAG, GRID, simulated

SMALL = [("DRAG", Allocation(*theta)) for theta in ((0,), (1,), (0, 1), (20, 4))]
A, B, C = (("DRAG", Allocation(documents)) for documents in (2, 3, 4))
MEASURED = simulated(4, cells=SMALL).where(lambda name, _: name == "2wiki")


class Beliefs:
    """Expects given means, each with a standard deviation; measured cells score 0.3."""

    def __init__(self, beliefs: Mapping[Cell, tuple[float, float]]) -> None:
        self.beliefs = {**dict.fromkeys(SMALL, (0.3, 0.0)), **beliefs}

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        each = [self.beliefs[cell] for cell in cells]
        return [Prediction(mean, mean - 1.96 * sd, mean + 1.96 * sd) for mean, sd in each]


def chosen(
    beliefs: Mapping[Cell, tuple[float, float]],
    tokens: Mapping[Cell, float],
    budgets: Sequence[int] = (1000,),
    count: int = 1,
) -> list[Cell]:
    needs = {cell: Needs(most, most, 1, 1) for cell, most in tokens.items()}
    model = TokenModel(1.0, {"2wiki": {**dict.fromkeys(SMALL, Needs(10, 10, 1, 1)), **needs}}, {})
    return next_cells(Beliefs(beliefs), MEASURED, [*SMALL, *tokens], model, budgets, "2wiki", count)


def test_it_starts_with_anchors_and_the_ends_of_each_strategy() -> None:
    start = starting_cells(GRID)
    assert set(start) == {
        *ANCHOR_CELLS,
        ("DRAG", Allocation(20, 4)),
        ("IterDRAG", Allocation(1)),
        ("IterDRAG", Allocation(5, 2, 5)),
    }
    assert start[0] == ("DRAG", Allocation(0))
    nothing = CellTable("em", {})
    model = TokenModel.fit(simulated(4))
    assert next_cells(Beliefs({}), nothing, GRID, model, [1000], "2wiki", 9) == start
    assert next_cells(Beliefs({}), MEASURED, GRID, model, [1000], "2wiki", 1) == [start[3]]


def test_what_may_be_better_comes_before_what_is_known() -> None:
    tokens = {A: 100, B: 100, C: 100}
    assert chosen({A: (0.3, 0.01), B: (0.3, 0.2), C: (0.1, 0.01)}, tokens) == [B]
    assert chosen({A: (0.2, 0.1), B: (0.1, 0.1), C: (0.0, 0.1)}, tokens, count=9) == [A, B, C]


def test_the_gain_by_hand() -> None:
    """As good as the best, and as unsure: what one costs less, it may be less unsure."""
    equal = {A: (0.3, 0.1), B: (0.3, 0.19), C: (0.3, 0.21)}
    assert chosen(equal, {A: 100, B: 200, C: 200}, count=3) == [C, A, B]


def test_what_fits_more_budgets_is_worth_more() -> None:
    alike = {A: (0.3, 0.1), B: (0.3, 0.1)}
    assert chosen(alike, {A: 150, B: 100}, budgets=[200]) == [B]
    surer = {A: (0.3, 0.25), B: (0.3, 0.1)}
    assert chosen(surer, {A: 150, B: 100}, budgets=[200]) == [A]
    assert chosen(surer, {A: 150, B: 100}, budgets=[100, 200]) == [B]
    assert chosen(alike, {A: 150, B: 50}, budgets=[4]) == [B]


def test_what_measuring_leaves_unknown_is_no_reason_to_measure() -> None:
    """All cells share the noise of the questions; the predictions of measured cells show it."""
    noisy = dict.fromkeys(SMALL, (0.3, 0.1))
    beliefs = {**noisy, A: (0.3, 0.1), B: (0.25, 0.15)}
    assert chosen(beliefs, {A: 100, B: 100}) == [B]


def test_a_replay_ends_with_the_whole_grid() -> None:
    table = simulated(10, cells=DRAG)
    budgets = log_budgets(table)
    first, second = halves(table, 0)
    for seed, truth, valued_on in ((None, table, None), (0, table, None), (1, first, second)):
        fit = AllocationModel.fit if seed is None else GridSearch.fit
        steps = replay_profile(
            truth, "2wiki", fit, budgets, count=5, random_order=seed, valued_on=valued_on
        )
        assert [round(step.cells * 24) for step in steps] == [4, 9, 14, 19, 24]
        assert steps[-1].tokens == pytest.approx(1)
        assert list(np.diff([step.tokens for step in steps]) > 0) == [True] * 4
    assert steps[-1].regret == pytest.approx(0)


def test_needed_is_the_first_step_from_which_on_regret_is_small() -> None:
    one = [Step(0.1, 0.2, 0.01), Step(0.2, 0.3, 0.2), Step(0.3, 0.5, 0.04), Step(1, 1, 0)]
    two = [Step(0.1, 0.1, 0.01), Step(0.2, 0.3, 0.2), Step(0.3, 0.7, 0.08), Step(1, 1, 0)]
    assert needed([one]) == one[2]
    assert needed([two]) == two[3]
    assert needed([one, two], most=0.07) == Step(0.3, 0.6, 0.06)
    assert needed([one], most=0.5) == one[0]
    assert needed([one], most=-1) is None


class Smooth:
    """Believes that cells with similar numbers score alike: a Gaussian process."""

    def __init__(self, table: CellTable) -> None:
        self.table = table

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        known = self.table.datasets[dataset]
        scores = np.array([each.mean for each in known.values()])
        own = alike(list(known), list(known)) + 1e-4 * np.eye(len(known))
        across = np.linalg.solve(own, alike(list(known), cells)).T
        means = scores.mean() + across @ (scores - scores.mean())
        left = 1 - np.einsum("ij,ji->i", across, alike(list(known), cells))
        margins = 1.96 * 0.15 * np.sqrt(np.maximum(left, 0))
        return [Prediction(*each) for each in np.array([means, means - margins, means + margins]).T]


def alike(cells: Sequence[Cell], others: Sequence[Cell]) -> np.ndarray:
    def places(of: Sequence[Cell]) -> np.ndarray:
        return np.array([
            [2.0 * (strategy == "DRAG"), np.log1p(each.documents), np.log1p(each.examples),
             np.log(each.steps)] for strategy, each in of
        ])  # fmt: skip

    distances = places(cells)[:, None] - places(others)[None]
    return np.exp(-(distances**2).sum(axis=-1) / 2)


def uneven(seed: int) -> CellTable:
    """Return a data set whose cells stray from the smooth surface, so that one has to look."""
    rng = np.random.default_rng(seed)
    table = simulated(2, noise=0).where(lambda name, _: name == "2wiki")
    return CellTable("em", {
        name: {cell: replace(each, values=each.values + rng.normal(scale=0.06))
               for cell, each in cells.items()}
        for name, cells in table.datasets.items()
    })  # fmt: skip


def test_active_takes_fewer_cells_and_tokens_than_a_random_order() -> None:
    active, drawn = [], []
    for world in range(5):
        table = uneven(world)
        budgets = log_budgets(table)
        active.append(replay_profile(table, "2wiki", Smooth, budgets, count=2))
        drawn.append(replay_profile(table, "2wiki", Smooth, budgets, count=2, random_order=world))
    found, by_chance = needed(active), needed(drawn)
    assert found
    assert by_chance
    assert found.cells < 0.8 * by_chance.cells
    assert found.tokens < 0.8 * by_chance.tokens

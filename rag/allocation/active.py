"""Which cells to measure next, so that few measurements make good plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass
from statistics import NormalDist, median

import numpy as np

from rag.allocation.cells import CellTable
from rag.allocation.generalisation import ANCHOR_CELLS, Fit
from rag.allocation.grid import cheap_first
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction, Predictor
from rag.allocation.regret import regret, relative
from rag.allocation.tokens import TokenModel

_NORMAL = NormalDist()
_INTERVAL = 2 * _NORMAL.inv_cdf(0.975)
"""Width of a 95 % interval in standard deviations."""


def starting_cells(candidates: Sequence[Cell]) -> list[Cell]:
    """Return the cells to begin with: what a model cannot do without.

    They are the anchors, which tell what a document and a worked example add, and the smallest and
    the largest cell of each strategy.

    Args:
        candidates: The cells that may be measured.
    """
    chosen = {cell for cell in ANCHOR_CELLS if cell in candidates}
    for strategy in {strategy for strategy, _ in candidates}:
        own = [cell for cell in candidates if cell[0] == strategy]
        chosen |= {min(own, key=cheap_first), max(own, key=cheap_first)}
    return sorted(chosen, key=cheap_first)


def next_cells(
    predictor: Predictor,
    measured: CellTable,
    candidates: Sequence[Cell],
    tokens_model: TokenModel,
    budgets: Sequence[int],
    dataset: str,
    count: int = 1,
) -> list[Cell]:
    """Return the cells to measure next, those that improve plans most for their tokens first.

    What a cell is worth at a budget that it fits is its knowledge gradient (Frazier, Powell and
    Dayanik 2008): how much better the best cell within the budget is expected to be, once the cell
    is measured. These worths are added up over the budgets and divided by the cell's tokens. What
    measuring leaves unknown is taken to be what is unknown of a measured cell, the median one; what
    it tells of other cells is left out.

    Args:
        predictor: What cells are expected to score; its intervals say how little is known.
        measured: What was measured already.
        candidates: All cells that plans may use.
        tokens_model: What cells take.
        budgets: Input tokens that plans are to be made for.
        dataset: The data set to measure.
        count: How many cells to return.

    Returns:
        The starting cells, as long as one of them is not measured; fewer than `count` where no
        more are left.
    """
    known = measured.datasets.get(dataset, {})
    start = [cell for cell in starting_cells(candidates) if cell not in known]
    if start:
        return start[:count]
    predictions = predictor.predict(dataset, candidates)
    needs = tokens_model.needs(dataset, candidates)
    variances = [_variance(each) for each in predictions]
    left = [place for place, cell in enumerate(candidates) if cell not in known]
    remaining = median(variances[place] for place, cell in enumerate(candidates) if cell in known)
    worth = [0.0] * len(candidates)
    for budget in budgets:
        within = [place for place, need in enumerate(needs) if need.largest <= budget]
        # Without any cell nothing is scored.
        first, second, *_ = sorted(
            (0.0, 0.0, *(predictions[place].mean for place in within)), reverse=True
        )
        for place in within:
            mean = predictions[place].mean
            behind = first - (second if mean == first else mean)
            worth[place] += _gain(behind, variances[place] - remaining)
    tokens = [max(1.0, need.tokens) for need in needs]
    left.sort(key=lambda place: (-worth[place] / tokens[place], tokens[place]))
    return [candidates[place] for place in left[:count]]


@dataclass(frozen=True, slots=True)
class Step:
    """A point of a replayed profile.

    Args:
        cells: Share of the grid's cells that are measured.
        tokens: Share of the input tokens that measuring the whole grid takes.
        regret: Share of the oracle's metric that plans lose, over all budgets.
    """

    cells: float
    tokens: float
    regret: float


def replay_profile(
    table: CellTable,
    dataset: str,
    fit: Fit,
    budgets: Sequence[int],
    *,
    count: int = 1,
    random_order: int | None = None,
    valued_on: CellTable | None = None,
) -> list[Step]:
    """Measure a data set's grid again, cell by cell, from what was measured.

    After the starting cells and after each further `count`, a predictor is fitted and its plans are
    compared with the oracle, which knows the whole grid.

    Args:
        table: What was measured. Fits see all of the other data sets in it.
        dataset: The data set whose grid is measured again.
        fit: Makes a predictor of what is measured so far.
        budgets: Input tokens that plans are made for.
        count: Cells a step.
        random_order: Seed of a random order of the cells after the starting ones, instead of that
            of `next_cells`.
        valued_on: See `regret`.
    """
    grid = table.datasets[dataset]
    candidates = sorted(grid)
    tokens = {cell: float(each.tokens.sum()) for cell, each in grid.items()}
    order = None
    if random_order is not None:
        shuffled = np.random.default_rng(random_order).permutation(len(candidates))
        order = [candidates[place] for place in shuffled]
    done = starting_cells(candidates)
    steps = []
    while True:
        seen = table.where(_seen(dataset, done))
        predictor = fit(seen)
        steps.append(
            Step(
                len(done) / len(grid),
                sum(tokens[cell] for cell in done) / sum(tokens.values()),
                relative(regret(predictor, table, dataset, budgets, valued_on=valued_on)),
            )
        )
        left = [cell for cell in order or candidates if cell not in done]
        if not left:
            return steps
        if order is None:
            tokens_model = TokenModel.fit(seen)
            left = next_cells(predictor, seen, candidates, tokens_model, budgets, dataset, count)
        done += left[:count]


def needed(replays: Sequence[Sequence[Step]], most: float = 0.05) -> Step | None:
    """Return the first step from which on the regret, the mean of all replays, is small.

    Args:
        replays: Steps of one or more replays over the same grid: of several random orders, or of
            several halves of the questions.
        most: The regret that is small enough.

    Returns:
        The means of the replays at that step; None if their mean regret ends above `most`.
    """
    means = [
        Step(*np.mean([astuple(step) for step in column], axis=0).tolist())
        for column in zip(*replays, strict=True)
    ]
    last_above = max((at for at, step in enumerate(means) if step.regret > most), default=-1)
    return means[last_above + 1] if last_above + 1 < len(means) else None


def _seen(dataset: str, done: Collection[Cell]) -> Callable[[str, Cell], bool]:
    return lambda name, cell: name != dataset or cell in done


def _gain(behind: float, variance: float) -> float:
    """Return how much the best of two scores is expected to rise once one of them is known better.

    Args:
        behind: How far one is expected to be behind the other.
        variance: By how much the variance of one of them falls.
    """
    if variance <= 0:
        return 0.0
    deviation = math.sqrt(variance)
    z = -behind / deviation
    return deviation * (z * _NORMAL.cdf(z) + _NORMAL.pdf(z))


def _variance(prediction: Prediction) -> float:
    return ((prediction.high - prediction.low) / _INTERVAL) ** 2

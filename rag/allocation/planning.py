"""What to use for a question, given a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Protocol

from rag.allocation.grid_search import GridSearch, averaged
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction, Predictor
from rag.allocation.tokens import Needs, TokenModel
from rag.core.allocations import Allocation
from rag.core.budgets import Budget
from rag.core.errors import BudgetTooSmall, InputError
from rag.core.usage import Prices

_ALIKE = 0.02
"""Expected scores that are closer than this share of the usual interval are taken as equal."""


class CallTimes(Protocol):
    """How long a call of a model takes; `rag.models.cost_model.CostModel` is one."""

    def predict(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return the seconds of a call."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What to use for a question, and what to expect of it.

    Args:
        strategy: The strategy, such as 'DRAG'.
        allocation: What it is to use.
        prediction: What it is expected to score.
        needs: Tokens and calls that it is expected to take.
        seconds: Time of an average question's calls, one after the other; None where not known.
        cost: Money for an average question; None where there are no prices.
        basis: What the prediction rests on: "model", or "grid search: " and why no model.
        next_doubling: What twice the budget would buy; None if that is the same, or not asked.
    """

    strategy: str
    allocation: Allocation
    prediction: Prediction
    needs: Needs
    seconds: float | None
    cost: float | None
    basis: str
    next_doubling: Plan | None = None

    @property
    def cell(self) -> Cell:
        """The strategy and the allocation."""
        return self.strategy, self.allocation

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    def load(self, budget: Budget) -> float:
        """Return the share of a budget that this takes, of the limit that is nearest.

        No question may take more than the budget's tokens (the most over questions counts), and an
        average one no more than its calls, seconds and cost. 0 without any limit.
        """
        limits = _limits(budget)
        return max((share(self.taken[kind], limits[kind]) for kind in limits), default=0.0)

    @property
    def taken(self) -> dict[str, float]:
        """What this takes of each limit of a budget, by the limit's name."""
        return {
            "tokens": self.needs.largest,
            "calls": self.needs.calls,
            "seconds": self.seconds or 0.0,
            "cost": self.cost or 0.0,
        }


def plan(
    predictor: Predictor,
    tokens_model: TokenModel,
    cells: Sequence[Cell],
    budget: Budget,
    *,
    dataset: str | None,
    fallback: GridSearch | None = None,
    seconds_of: CallTimes | None = None,
    prices: Prices | None = None,
) -> Plan:
    """Return the cell that is expected to score best of those that a budget allows.

    All cells are scored, as in arXiv 2410.04343, section 5. Scores that are as good as equal go
    to the cheaper cell, see `best`.

    Args:
        predictor: What cells are expected to score. One that has a `why_not` with a text in it says
            that it cannot be trusted, and is not asked.
        tokens_model: What cells take.
        cells: The cells to choose from.
        budget: What a question may use.
        dataset: The data set that the question is like; None if it may be like any of those that
            tokens were measured of: scores are then means over these.
        fallback: What was measured, for a predictor that cannot be trusted.
        seconds_of: Times of calls; a budget of seconds needs them.
        prices: Prices of tokens; a budget of cost needs them.

    Raises:
        BudgetTooSmall: Nothing fits the budget.
        InputError: A limit cannot be checked, nothing was measured, or the predictor cannot be
            trusted and there is no fallback.
    """
    if budget.seconds is not None and seconds_of is None:
        raise InputError("a budget of seconds needs a cost model; `rag models calibrate` makes one")
    if budget.cost is not None and prices is None:
        raise InputError("a budget of cost needs the prices of tokens")
    trusted, basis = _trusted(predictor, fallback)
    candidates = candidates_of(trusted, dataset, cells)
    if not candidates:
        raise InputError("no cell to choose from was measured; `rag budget profile` measures some")
    predictions = _predicted(trusted, dataset, candidates, tokens_model.datasets)
    options = [
        Plan(*cell, score, needs, _seconds(needs, seconds_of), _cost(needs, prices), basis)
        for cell, score, needs in zip(
            candidates, predictions, tokens_model.needs(dataset, candidates), strict=True
        )
    ]
    options.sort(key=lambda option: option.needs.tokens)
    chosen = _chosen(options, budget)
    twice = _chosen(options, _doubled(budget))
    return chosen if twice.cell == chosen.cell else replace(chosen, next_doubling=twice)


def best(predictions: Sequence[Prediction], loads: Sequence[float]) -> int | None:
    """Return the position of the best cell within a budget, or None if none is.

    Of cells within 2 % of an interval's width of the best score, it is the one with the least load,
    and the first of several: a difference that small is noise, and costs little if it is none. The
    width is the median over all cells, within the budget or not, and so the same for all budgets. A
    budget that is larger, in all its limits by the same factor, thus never leads to a cell with a
    lower expected score.

    Args:
        predictions: What the cells are expected to score.
        loads: The share of the budget that each takes; a cell of more than 1 is not within it.
    """
    allowed = [position for position, load in enumerate(loads) if load <= 1]
    if not allowed:
        return None
    alike = _ALIKE * median(each.high - each.low for each in predictions)
    highest = max(predictions[position].mean for position in allowed)
    return min(
        (position for position in allowed if predictions[position].mean >= highest - alike),
        key=loads.__getitem__,
    )


def share(need: float, limit: float) -> float:
    """Return the share of a limit that is needed."""
    if limit > 0:
        return need / limit
    return float("inf") if need > 0 else 0.0


def _trusted(predictor: Predictor, fallback: GridSearch | None) -> tuple[Predictor, str]:
    """Return what is to predict, and what that is."""
    if isinstance(predictor, GridSearch):
        return predictor, "grid search: no model was given"
    why_not = getattr(predictor, "why_not", None)
    if not why_not:
        return predictor, "model"
    if fallback is None:
        raise InputError(f"the model cannot be trusted: {why_not}; measure more cells")
    return fallback, f"grid search: {why_not}"


def candidates_of(
    predictor: Predictor, dataset: str | None, cells: Sequence[Cell]
) -> Sequence[Cell]:
    """Return the cells that a predictor can say something of."""
    return predictor.measured(dataset, cells) if isinstance(predictor, GridSearch) else cells


def _predicted(
    predictor: Predictor, dataset: str | None, cells: Sequence[Cell], datasets: Sequence[str]
) -> list[Prediction]:
    names = datasets if dataset is None else [dataset]
    each = [predictor.predict(name, cells) for name in names]
    return [averaged(predictions) for predictions in zip(*each, strict=True)]


def _seconds(needs: Needs, seconds_of: CallTimes | None) -> float | None:
    if seconds_of is None:
        return None
    calls = max(1.0, needs.calls)
    read, written = round(needs.tokens / calls), round(needs.output_tokens / calls)
    return calls * seconds_of.predict(read, written)


def _cost(needs: Needs, prices: Prices | None) -> float | None:
    if prices is None:
        return None
    return prices.cost(round(needs.tokens), round(needs.output_tokens))


def _chosen(options: Sequence[Plan], budget: Budget) -> Plan:
    loads = [option.load(budget) for option in options]
    position = best([option.prediction for option in options], loads)
    if position is not None:
        return options[position]
    least = options[loads.index(min(loads))]
    limits = _limits(budget)
    smallest = {kind: _enough(kind, least.taken[kind]) for kind in limits}
    raise BudgetTooSmall(limits, smallest, f"{least.strategy} {least.allocation}")


def _enough(kind: str, need: float) -> float:
    """Return a need, rounded up to a legible number."""
    whole = kind in ("tokens", "calls") or need >= 100
    return math.ceil(need) if whole else float(f"{need * 1.001:.4g}")


def _doubled(budget: Budget) -> Budget:
    return Budget(**{kind: 2 * limit for kind, limit in _limits(budget).items()})


def _limits(budget: Budget) -> dict[str, Any]:
    return {kind: limit for kind, limit in asdict(budget).items() if limit is not None}

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.grid_search import GridSearch
from rag.allocation.observations import Cell
from rag.allocation.planning import best, plan
from rag.allocation.predictions import Prediction
from rag.allocation.tokens import Needs, TokenModel
from rag.core.allocations import Allocation
from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.usage import Prices
from rag.models.cost_model import CostModel
from tests.allocation.simulated import GRID, Truth, simulated

A, B, C = (("DRAG", Allocation(documents)) for documents in (1, 2, 3))


class Scores:
    """Predicts given means, with intervals of one width."""

    def __init__(self, scores: Mapping[Cell, float], width: float = 0.0, why_not: str = "") -> None:
        self.scores = scores
        self.width = width
        self.why_not = why_not

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        means = [self.scores[cell] for cell in cells]
        return [Prediction(mean, mean - self.width / 2, mean + self.width / 2) for mean in means]


def takes(largest: Mapping[Cell, float], *datasets: str) -> TokenModel:
    """Return a model of cells that take half of what they take at most, in two calls."""
    cells = {cell: Needs(most / 2, most, 2, 10) for cell, most in largest.items()}
    return TokenModel(1.0, dict.fromkeys(datasets or ("a",), cells), {})


THREE = takes({A: 100, B: 200, C: 400})
RISING = Scores({A: 0.1, B: 0.3, C: 0.4})


def test_the_best_cell_that_fits_and_what_twice_the_budget_buys() -> None:
    found = plan(RISING, THREE, [A, B, C], Budget(tokens=200), dataset="a")
    assert (found.cell, found.prediction.mean, found.basis) == (B, 0.3, "model")
    assert found.needs == Needs(100, 200, 2, 10)
    assert (found.seconds, found.cost) == (None, None)
    twice = found.next_doubling
    assert twice is not None
    assert (twice.cell, twice.next_doubling) == (C, None)
    assert plan(RISING, THREE, [A, B, C], Budget(tokens=999), dataset="a").next_doubling is None


def test_the_longest_question_has_to_fit() -> None:
    assert plan(RISING, THREE, [A, B, C], Budget(tokens=399), dataset="a").cell == B
    assert plan(RISING, THREE, [A, B, C], Budget(tokens=400), dataset="a").cell == C


def test_seconds_are_those_of_average_calls_one_after_the_other() -> None:
    times = CostModel(overhead=1.0, computed=0.1)
    found = plan(RISING, THREE, [A, B, C], Budget(seconds=12), dataset="a", seconds_of=times)
    assert (found.cell, found.seconds) == (B, pytest.approx(2 * (1 + 0.1 * 50)))


def test_costs_are_those_of_average_questions() -> None:
    prices = Prices(input=1e6, output=2e6)
    found = plan(RISING, THREE, [A, B, C], Budget(cost=120), dataset="a", prices=prices)
    assert (found.cell, found.cost) == (B, 100 + 2 * 10)


def test_all_limits_hold() -> None:
    limits = {"dataset": "a", "prices": Prices(1e6, 0)}
    assert plan(RISING, THREE, [A, B, C], Budget(tokens=400, cost=60), **limits).cell == A
    with pytest.raises(InputError, match=r"1 calls; the smallest .* is 2 calls \(DRAG k=1"):
        plan(RISING, THREE, [A, B, C], Budget(calls=1), **limits)


def test_scores_as_good_as_equal_go_to_the_cheaper_cell() -> None:
    """A fiftieth of the intervals' width is 0.02."""
    for lead, cell in ((0.019, A), (0.021, C)):
        scores = Scores({A: 0.3, B: 0.2, C: 0.3 + lead}, width=1.0)
        assert plan(scores, THREE, [C, B, A], Budget(tokens=400), dataset="a").cell == cell
        assert plan(scores, THREE, [C, B, A], Budget(), dataset="a").cell == cell
        assert plan(scores, THREE, [C, B, A], Budget(calls=2), dataset="a").cell == cell


def test_nothing_fits() -> None:
    times = CostModel(overhead=1.0)
    for budget, words in (
        (Budget(tokens=99), r"99 tokens; the smallest that something fits is 100 tokens"),
        (Budget(tokens=0), r"0 tokens; .* is 100 tokens"),
        (Budget(tokens=2000, seconds=0.5), r"2,000 tokens, 0\.5 seconds; .* 100 tokens, 2\.002 s"),
    ):
        with pytest.raises(InputError, match=f"nothing fits a budget of {words}"):
            plan(RISING, THREE, [A, B, C], budget, dataset="a", seconds_of=times)


def test_limits_that_cannot_be_checked_are_refused() -> None:
    with pytest.raises(InputError, match="needs a cost model; `rag models calibrate`"):
        plan(RISING, THREE, [A], Budget(seconds=1), dataset="a")
    with pytest.raises(InputError, match="needs the prices"):
        plan(RISING, THREE, [A], Budget(cost=1), dataset="a")


def test_a_question_of_any_data_set_gets_what_is_best_on_average() -> None:
    class Opposed(Scores):
        def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
            sign = {"a": 1, "b": -2}[dataset]
            return [Prediction(*[sign * self.scores[cell]] * 3) for cell in cells]

    model = takes({A: 100, B: 200}, "a", "b")
    opposed = Opposed({A: 0.1, B: 0.3})
    assert plan(opposed, model, [A, B], Budget(), dataset="a").cell == B
    found = plan(opposed, model, [A, B], Budget(), dataset=None)
    assert (found.cell, found.prediction.mean) == (A, pytest.approx(-0.05))


def test_without_trust_it_is_a_grid_search_over_what_was_measured() -> None:
    doubtful = Scores(RISING.scores, why_not="it was fitted to 3 cells")
    measured = GridSearch({"a": {A: Prediction(0.4, 0.4, 0.4), B: Prediction(0.3, 0.3, 0.3)}})
    budget = Budget(tokens=400)
    found = plan(doubtful, THREE, [A, B, C], budget, dataset="a", fallback=measured)
    assert (found.cell, found.basis) == (A, "grid search: it was fitted to 3 cells")
    assert plan(RISING, THREE, [A, B, C], budget, dataset="a", fallback=measured).basis == "model"
    own = plan(measured, THREE, [A, B, C], budget, dataset="a")
    assert (own.cell, own.basis) == (A, "grid search: no model was given")
    with pytest.raises(InputError, match="cannot be trusted: it was fitted to 3 cells"):
        plan(doubtful, THREE, [A, B, C], budget, dataset="a")
    with pytest.raises(InputError, match="no cell to choose from was measured"):
        plan(measured, THREE, [C], budget, dataset="a")


def test_a_plan_as_json() -> None:
    found = plan(RISING, THREE, [A, B, C], Budget(tokens=200), dataset="a")
    values = json.loads(json.dumps(found.as_json()))
    assert values["allocation"] == {"documents": 2, "examples": 0, "steps": 1}
    assert values["prediction"] == {"mean": 0.3, "low": 0.3, "high": 0.3}
    assert values["next_doubling"]["allocation"]["documents"] == 3


fractions = st.floats(0, 1)
cells = st.lists(st.tuples(fractions, fractions, st.integers(1, 10**6)), min_size=1, max_size=12)


@given(cells, st.integers(1, 10**6), st.floats(1, 100))
def test_plans_stay_within_budgets_and_more_never_promises_less(
    drawn: list[tuple[float, float, int]], tokens: int, factor: float
) -> None:
    names = [("S", Allocation(position)) for position in range(len(drawn))]
    largest = {name: float(each[2]) for name, each in zip(names, drawn, strict=True)}

    class Drawn:
        def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
            drawn_of = [drawn[cell[1].documents] for cell in cells]
            return [Prediction(mean, mean - width, mean + width) for mean, width, _ in drawn_of]

    model = takes(largest)
    try:
        small = plan(Drawn(), model, names, Budget(tokens=tokens), dataset="a")
    except InputError:
        assert min(largest.values()) > tokens
        return
    large = plan(Drawn(), model, names, Budget(tokens=int(tokens * factor)), dataset="a")
    assert small.needs.largest <= tokens
    assert large.needs.largest <= tokens * factor
    assert large.prediction.mean >= small.prediction.mean
    if small.next_doubling is not None:
        assert small.needs.largest <= small.next_doubling.needs.largest <= 2 * tokens
        assert small.next_doubling.prediction.mean >= small.prediction.mean


def test_best_of_nothing_is_none() -> None:
    assert best([], []) is None
    assert best([Prediction(0.5, 0.4, 0.6)], [1.1]) is None


def test_the_strategy_changes_with_the_budget() -> None:
    model = TokenModel.fit(simulated())
    for tokens, strategy in ((1000, "DRAG"), (10_000, "IterDRAG")):
        found = plan(Truth(), model, GRID, Budget(tokens=tokens), dataset="musique")
        assert found.strategy == strategy
        assert found.needs.largest <= tokens

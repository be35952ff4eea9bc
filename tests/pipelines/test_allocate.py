from dataclasses import replace
from typing import Any

import pytest

from rag.allocation.fitted import FittedAllocation
from rag.allocation.observations import Cell
from rag.core.allocations import Allocation
from rag.core.answers import Answer, Step
from rag.core.budgets import Budget
from rag.core.errors import BudgetTooSmall, InputError
from rag.core.events import Outcome
from rag.core.usage import Prices
from rag.core.worked_examples import WorkedExample
from rag.models.cost_model import CostModel
from rag.pipelines import DRAG, ExamplePool, IterDRAG, allocate, metered
from rag.pipelines.strategies import STRATEGIES, why_not
from rag.testing import EchoLLM, FixedRetriever
from tests.allocation.simulated import GRID, observations, simulated

SMALL: list[Cell] = [cell for cell in GRID if cell[1].documents <= 5]
FITTED = FittedAllocation.fit(observations(simulated(16, cells=SMALL)))
LONG = FixedRetriever(
    [f"Tower {number} is tall . " + "It has windows . " * 100 for number in range(9)]
)
QUESTION = "How tall is tower 1 ?"

HITS = tuple(LONG.search_many([QUESTION], 5)[0])
PLAIN = [WorkedExample(f"How tall is house {number} ?", "2 m", HITS) for number in range(2)]
STEPWISE = [replace(each, steps=(Step("Which house ?", "It", HITS),)) for each in PLAIN]


def planned(budget: Budget, **options: Any) -> Cell:
    pipeline = allocate(FITTED, budget, retriever=LONG, llm=EchoLLM(), **options)
    assert pipeline.budget is not None
    assert pipeline.budget.tokens == budget.tokens
    return pipeline.strategy, pipeline.allocation


@pytest.mark.parametrize("tokens", [100, 1000, 30_000])
def test_it_is_the_pipeline_that_the_model_plans(tokens: int) -> None:
    budget = Budget(tokens=tokens)
    found = FITTED.plan(budget, cells=[cell for cell in SMALL if not cell[1].examples])
    assert planned(budget) == found.cell


def test_the_strategy_changes_with_the_budget() -> None:
    few, many = (
        allocate(FITTED, Budget(tokens=tokens), retriever=LONG, llm=EchoLLM(), dataset="musique")
        for tokens in (200, 30_000)
    )
    assert isinstance(few, DRAG)
    assert isinstance(many, IterDRAG)
    assert (few.allocation, many.allocation.steps) == (Allocation(0), 5)


def test_no_answer_takes_more_than_the_budget() -> None:
    """Passages are longer here than where the model was fitted."""
    pipeline = allocate(FITTED, Budget(tokens=1200), retriever=LONG, llm=EchoLLM())
    assert pipeline.allocation.documents > 1

    def streamed(budget: Budget | None = None) -> Answer:
        *_, outcome = pipeline.stream(QUESTION, budget=budget)
        assert isinstance(outcome, Outcome)
        return metered(outcome)

    one, two = pipeline.answer(QUESTION), pipeline.answer_many([QUESTION, "How tall is tower 2 ?"])
    for answer in (one, *two, streamed()):
        assert 600 < answer.usage.input_tokens <= 1200
        assert "left out for lack of room" in answer.notes[0]
    less, more = Budget(tokens=500), Budget()
    for budget, fits in ((less, lambda used: 0 < used <= 500), (more, lambda used: used > 1200)):
        given = [pipeline.answer(QUESTION, budget=budget), streamed(budget)]
        for answer in (*given, *pipeline.answer_many([QUESTION] * 2, budget=budget)):
            assert fits(answer.usage.input_tokens)


def test_no_more_examples_are_planned_than_there_are() -> None:
    plenty = Budget(tokens=100_000)
    best = FITTED.plan(plenty)
    assert best.strategy == "IterDRAG"
    assert best.allocation.examples == 1
    assert planned(plenty, examples=STEPWISE) == best.cell
    assert planned(plenty) == (best.strategy, replace(best.allocation, examples=0))
    assert planned(plenty, examples=ExamplePool(PLAIN))[1].examples == 0
    drag = allocate(FITTED, Budget(tokens=5000), retriever=LONG, llm=EchoLLM(), examples=PLAIN)
    assert (drag.strategy, drag.allocation.examples) == ("DRAG", 2)
    assert [each.question for each in drag.examples.examples] == [each.question for each in PLAIN]


def test_examples_with_too_few_passages_are_not_planned() -> None:
    short = [replace(each, hits=HITS[:2]) for each in STEPWISE]
    plenty = Budget(tokens=100_000)
    _, allocation = planned(plenty, examples=short)
    assert allocation.examples == 0 or allocation.documents <= 2
    assert planned(plenty, examples=STEPWISE)[1].documents == 5


@pytest.mark.parametrize(
    ("cell", "examples", "reason"),
    [
        (("DRAG", Allocation(5, 2)), PLAIN, ""),
        (("DRAG", Allocation(5, 2)), PLAIN[:1], "1 worked examples are at hand"),
        (("DRAG", Allocation(6, 2)), PLAIN, "worked examples have 5 passages"),
        (("DRAG", Allocation(6)), PLAIN, ""),
        (("DRAG", Allocation(5, 0, 2)), PLAIN, "asks no sub-questions"),
        (("IterDRAG", Allocation(5, 2, 5)), STEPWISE, ""),
        (("Self-Ask", Allocation(5, 1, 5)), PLAIN, "0 worked examples with steps are at hand"),
        (("Guess", Allocation(5)), PLAIN, "the strategies are DRAG, IterDRAG, Self-Ask"),
    ],
)
def test_why_a_pipeline_would_not_be_what_its_cell_says(
    cell: Cell, examples: list[WorkedExample], reason: str
) -> None:
    if reason:
        assert reason in why_not(*cell, examples)
    else:
        assert cell[0] in STRATEGIES
        assert why_not(*cell, examples) == ""


def test_strategies_that_are_not_known_here_are_not_planned() -> None:
    cells: list[Cell] = [
        ("Guess", Allocation(0)),
        ("Guess", Allocation(5)),
        ("DRAG", Allocation(1)),
    ]
    fitted = FittedAllocation.fit(observations(simulated(4, cells=cells)))
    assert allocate(fitted, Budget(), retriever=LONG, llm=EchoLLM()).strategy == "DRAG"
    fitted = FittedAllocation.fit(observations(simulated(4, cells=cells[:2])))
    with pytest.raises(InputError, match="no allocation of the model can be used: the strategies"):
        allocate(fitted, Budget(), retriever=LONG, llm=EchoLLM())


def test_other_limits_go_by_the_prices_and_times_of_the_model() -> None:
    dear = EchoLLM(prices=Prices(1000, 1000))
    pipeline = allocate(FITTED, Budget(cost=1.0), retriever=LONG, llm=dear)
    assert pipeline.allocation.documents > 1
    answer = pipeline.answer(QUESTION)
    assert 0.5 < answer.usage.cost <= 1.0
    assert "passages left out for lack of room" in answer.notes[0]
    with pytest.raises(InputError, match="needs the prices"):
        planned(Budget(cost=1.0))
    with pytest.raises(InputError, match="needs a cost model"):
        planned(Budget(seconds=1.0))
    slow = CostModel(computed=0.01)
    assert planned(Budget(seconds=1.0), call_times=slow) == ("DRAG", Allocation(0))


def test_a_budget_that_nothing_fits_is_refused() -> None:
    with pytest.raises(BudgetTooSmall, match=r"nothing fits a budget of 10 tokens; .* \d+ tokens"):
        planned(Budget(tokens=10))
    with pytest.raises(InputError, match="no data set 'nq' was measured"):
        planned(Budget(tokens=1000), dataset="nq")

"""The pipeline that a budget is best spent on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.allocation.fitted import FittedAllocation
from rag.allocation.observations import Cell
from rag.allocation.planning import CallTimes
from rag.core.budgets import Budget
from rag.core.protocols import LLM, Retriever
from rag.core.worked_examples import WorkedExample
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.strategies import STRATEGIES, Strategy, make_pipeline


def allocate(
    model: FittedAllocation,
    budget: Budget,
    *,
    retriever: Retriever,
    llm: LLM,
    examples: ExamplePool | Sequence[WorkedExample] = (),
    dataset: str | None = None,
    call_times: CallTimes | None = None,
    prompts: Path | None = None,
) -> Strategy:
    """Return the pipeline, at the allocation, that a fitted model plans for a budget.

    Its `budget` is this one, so that no answer uses more. Allocations with more worked examples
    than there are, are not planned.

    Args:
        model: What was fitted to a profile of the same language model: `FittedAllocation.load`.
        budget: What each question may use.
        retriever: Where to look.
        llm: The model that reads.
        examples: Where worked examples come from.
        dataset: The measured data set that questions are like; None for any of them.
        call_times: Times of the model's calls, for a budget of seconds.
        prompts: A folder of prompt templates that replace the shipped ones.

    Raises:
        InputError: Nothing fits the budget, or a limit cannot be checked.
    """
    pool = examples if isinstance(examples, ExamplePool) else ExamplePool(examples)
    plan = model.plan(
        budget,
        dataset=dataset,
        cells=possible_cells(model.cells, pool.examples),
        call_times=call_times,
        prices=llm.prices,
    )
    pipeline = make_pipeline(*plan.cell, retriever, llm, examples=pool, prompts=prompts)
    pipeline.budget = budget
    return pipeline


def possible_cells(cells: Sequence[Cell], examples: Sequence[WorkedExample]) -> list[Cell]:
    """Return the cells of known strategies for which there are enough worked examples."""
    with_steps = sum(bool(each.steps) for each in examples)
    return [
        (strategy, allocation)
        for strategy, allocation in cells
        if strategy in STRATEGIES
        and allocation.examples <= (with_steps if STRATEGIES[strategy].stepwise else len(examples))
    ]

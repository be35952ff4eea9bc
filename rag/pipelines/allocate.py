"""The pipeline that a budget is best spent on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.allocation.fitted import FittedAllocation
from rag.allocation.observations import Cell
from rag.allocation.planning import CallTimes
from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.protocols import LLM, Retriever
from rag.core.worked_examples import WorkedExample
from rag.models.cost_model import budget_in_tokens
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.strategies import Strategy, make_pipeline, why_not


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

    Its `budget` is this one, so that no answer uses more; money limits the tokens, too, so that
    passages that cost too much are left out. Allocations with more worked examples, or
    more passages of such, than there are, are not planned.

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
        BudgetTooSmall: Nothing fits the budget.
        InputError: A limit cannot be checked, or there are no examples for any allocation.
    """
    pool = examples if isinstance(examples, ExamplePool) else ExamplePool(examples)
    plan = model.plan(
        budget,
        dataset=dataset,
        cells=usable_cells(model, pool.examples),
        call_times=call_times,
        prices=llm.prices,
    )
    pipeline = make_pipeline(*plan.cell, retriever, llm, examples=pool, prompts=prompts)
    # Programs see how many tokens are left, but not what these cost.
    pipeline.budget = budget_in_tokens(
        budget,
        output_tokens=pipeline.sampling.max_tokens,
        calls=max(1, round(plan.needs.calls)),
        prices=llm.prices,
    )
    return pipeline


def usable_cells(model: FittedAllocation, examples: Sequence[WorkedExample]) -> list[Cell]:
    """Return the cells of a model that there are strategies and worked examples for.

    Raises:
        InputError: There is none.
    """
    reasons = {cell: why_not(*cell, examples) for cell in model.cells}
    usable = [cell for cell, reason in reasons.items() if not reason]
    if not usable:
        reason = next(iter(reasons.values()))
        raise InputError(f"no allocation of the model can be used: {reason}")
    return usable


def as_planned(pipeline: Strategy) -> str:
    """Say what was planned, for the notes of an answer."""
    return f"planned for the budget: {pipeline.strategy} {pipeline.allocation}"

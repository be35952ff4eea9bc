"""Seconds as a limit on what a model reads."""

from __future__ import annotations

from rag.core.budgets import Budget
from rag.models.cost_model import CostModel, budget_in_tokens
from rag.pipelines.base import Pipeline
from rag.pipelines.read import RetrieveAndRead


def in_time(
    budget: Budget, pipeline: Pipeline, cost_model: CostModel | None
) -> tuple[Budget, tuple[str, ...]]:
    """Limit the tokens to what the model answers within the seconds, where it was calibrated.

    Contexts that are kept make it faster than that; how many there are is not known before.

    Args:
        budget: What an answer may use.
        pipeline: What answers; all but those that read once are left as they are.
        cost_model: What calls of the model take; None where that was not measured.

    Returns:
        The budget, and what to say of it in the notes of the answer.
    """
    if budget.seconds is None or not isinstance(pipeline, RetrieveAndRead):
        return budget, ()
    limited = budget_in_tokens(
        budget, output_tokens=pipeline.sampling.max_tokens, cost_model=cost_model
    )
    if limited == budget:
        return budget, ()
    note = f"to be done in {budget.seconds:g} s, the model reads {limited.tokens} tokens at most"
    return limited, (note,)

"""What a profile will take, before it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.allocation.observations import Cell
from rag.core.engine import Engine
from rag.core.errors import InputError
from rag.core.progress import Progress, silent
from rag.core.protocols import LLM
from rag.core.usage import Usage
from rag.evaluation.datasets import Query
from rag.evaluation.dry_run import DryRunLLM
from rag.models.cost_model import CostModel
from rag.pipelines.base import Pipeline

_SAMPLE = 3


@dataclass(frozen=True, slots=True)
class ProfileEstimate:
    """What a profile takes if nothing of it was done before and all sub-questions are asked.

    Args:
        input_tokens: Tokens of all prompts, as a plain sequential run would read them.
        output_tokens: Tokens of replies of full length.
        calls: Calls of the model.
        seconds: Time of calls one after the other that share nothing; None without a cost model.
        cost: Money; None where the model has no prices.
    """

    input_tokens: int
    output_tokens: int
    calls: int
    seconds: float | None
    cost: float | None


def estimate_profile(
    queries: Sequence[Query],
    pipeline: Callable[[Cell, LLM], Pipeline],
    grid: Sequence[Cell],
    llm: LLM,
    *,
    cost_model: CostModel | None = None,
    progress: Progress = silent,
) -> ProfileEstimate:
    """Run a few questions at every cell without the model, and scale up what it would read.

    Args:
        queries: The questions.
        pipeline: Makes the pipeline of a cell with a model.
        grid: The cells.
        llm: The model, which counts tokens and does nothing else.
        cost_model: What its calls take.
        progress: Told of the cells.

    Raises:
        InputError: There are no questions.
        RagError: A cell cannot be run, for whatever reason.
    """
    if not queries:
        raise InputError("there are no questions to measure")
    sample = queries[:: max(1, len(queries) // _SAMPLE)][:_SAMPLE]
    dry = DryRunLLM(llm, [query.text for query in queries])
    calls: list[Usage] = []
    for done, cell in enumerate(grid):
        progress("estimating", done, len(grid))
        made = pipeline(cell, dry)
        engine = Engine(llm=dry, retriever=made.retriever)
        for outcome in engine.run_many([made.program(query.text) for query in sample], trace=True):
            outcome.unwrap()
            calls += [each.usage for each in outcome.trace if each.usage.calls]
    progress("estimating", len(grid), len(grid))
    scale = len(queries) / len(sample)
    used = sum(calls, Usage())
    seconds = None
    if cost_model is not None:
        seconds = scale * sum(
            cost_model.predict(each.input_tokens, each.output_tokens) for each in calls
        )
    return ProfileEstimate(
        round(scale * used.input_tokens),
        round(scale * used.output_tokens),
        round(scale * used.calls),
        seconds,
        None if llm.prices is None else scale * used.cost,
    )

"""What a profile will take at most, before it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.allocation.observations import Cell
from rag.core.engine import Engine
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
    """What a profile takes at most, if nothing of it was done before.

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
    """
    sample = queries[:: max(1, len(queries) // _SAMPLE)][:_SAMPLE]
    dry = DryRunLLM(llm)
    used = Usage()
    seconds = 0.0
    for done, cell in enumerate(grid):
        progress("estimating", done, len(grid))
        made = pipeline(cell, dry)
        engine = Engine(llm=dry, retriever=made.retriever)
        engine.run_many([made.program(query.text) for query in sample])
        here = engine.usage
        used += here
        if cost_model is not None and here.calls:
            mean = here.input_tokens // here.calls, here.output_tokens // here.calls
            seconds += here.calls * cost_model.predict(*mean)
    progress("estimating", len(grid), len(grid))
    scale = len(queries) / len(sample)
    prices = llm.prices
    return ProfileEstimate(
        round(used.input_tokens * scale),
        round(used.output_tokens * scale),
        round(used.calls * scale),
        None if cost_model is None else seconds * scale,
        None if prices is None else prices.cost(used.input_tokens, used.output_tokens) * scale,
    )

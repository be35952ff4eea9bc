"""Pipelines by the name of their strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from rag.core.allocations import Allocation
from rag.core.errors import InputError
from rag.core.protocols import LLM, Retriever
from rag.core.worked_examples import WorkedExample
from rag.pipelines.drag import DRAG
from rag.pipelines.example_pool import ExamplePool
from rag.pipelines.ircot import IRCoT
from rag.pipelines.iter_drag import IterDRAG
from rag.pipelines.iter_retgen import IterRetGen
from rag.pipelines.self_ask import SelfAsk

Strategy: TypeAlias = DRAG | IterDRAG | IRCoT | IterRetGen

STRATEGIES: Mapping[str, type[Strategy]] = {
    each.strategy: each for each in (DRAG, IterDRAG, SelfAsk, IRCoT, IterRetGen)
}
"""The classes by name."""


def make_pipeline(
    strategy: str,
    allocation: Allocation,
    retriever: Retriever,
    llm: LLM,
    *,
    examples: ExamplePool | Sequence[WorkedExample] = (),
    prompts: Path | None = None,
) -> Strategy:
    """Return the pipeline of a strategy at an allocation.

    Args:
        strategy: Its name, such as 'IterDRAG'.
        allocation: What it may use.
        retriever: Where it looks.
        llm: The model that reads.
        examples: Where worked examples come from.
        prompts: A folder of prompt templates that replace the shipped ones.

    Raises:
        InputError: There is no such strategy.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"no strategy '{strategy}'; there are {', '.join(STRATEGIES)}")
    return STRATEGIES[strategy](
        retriever, llm, allocation=allocation, examples=examples, prompts=prompts
    )


def why_not(strategy: str, allocation: Allocation, examples: Sequence[WorkedExample]) -> str:
    """Say why a pipeline would not be what its strategy and allocation name; '' if it is.

    Args:
        strategy: The strategy's name.
        allocation: What it is to use.
        examples: The worked examples there are.
    """
    if strategy not in STRATEGIES:
        return f"the strategies are {', '.join(STRATEGIES)}"
    if allocation.steps > 1 and strategy == DRAG.strategy:
        return "this strategy asks no sub-questions: leave n out"
    stepwise = STRATEGIES[strategy].stepwise
    usable = [each for each in examples if each.steps or not stepwise]
    if allocation.examples > len(usable):
        kind = "with steps " if stepwise else ""
        return (
            f"{len(usable)} worked examples {kind}are at hand; `rag examples build` makes some, "
            "and --examples names the file"
        )
    most = max((len(each.hits) for each in usable), default=0)
    if allocation.examples and allocation.documents > most:
        return f"worked examples have {most} passages; `rag examples build --documents` keeps more"
    return ""

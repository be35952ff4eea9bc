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
from rag.pipelines.iter_drag import IterDRAG
from rag.pipelines.self_ask import SelfAsk

Strategy: TypeAlias = DRAG | IterDRAG | SelfAsk

STRATEGIES: Mapping[str, type[Strategy]] = {
    each.strategy: each for each in (DRAG, IterDRAG, SelfAsk)
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

"""How many contexts fit the model's window and what is left of the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rag.core.budgets import Allowance
from rag.core.generation import Prompt, Sampling
from rag.core.operations import CountTokens, Remaining
from rag.core.protocols import LLM

_MARGIN = 16
"""Tokens by which a prompt grows from call to call beside what was written: beginnings of lines."""


async def contexts_that_fit(
    render: Callable[[int], Prompt],
    count: int,
    sampling: Sampling,
    *,
    calls: int = 1,
    llm: LLM | None = None,
) -> int:
    """Return how many contexts, most important first, a prompt can hold; 0 if not even one.

    Args:
        render: Makes the prompt with so many contexts; its tokens grow with them.
        count: Contexts there are.
        sampling: How the reply will be generated; its `max_tokens` need room in the window.
        calls: Calls that what is left has to do for, if so many may still be made. All but the
            first read what was written before, too.
        llm: The model that reads; the engine's unless given.
    """
    left = await Remaining()
    if llm is not None:
        left = replace(left, context_window=llm.context_window)
    if left.calls is not None:
        calls = max(1, min(calls, left.calls))
    limit = _limit(left, sampling, calls)
    if limit is None:
        return count
    fits, too_many = 0, count + 1
    probe = count
    while too_many - fits > 1:
        if await CountTokens(render(probe), llm) <= limit:
            fits = probe
        else:
            too_many = probe
        probe = (fits + too_many) // 2
    return fits


async def two_calls_fit(prompt: Prompt, sampling: Sampling) -> bool:
    """Return whether a call, and another one that reads what it wrote, too, can still be made.

    Args:
        prompt: What the first call reads.
        sampling: How the replies will be generated.
    """
    left = await Remaining()
    if left.calls is not None and left.calls < 2:
        return False
    limit = _limit(left, sampling, 2)
    return limit is None or await CountTokens(prompt) <= limit


def _limit(left: Allowance, sampling: Sampling, calls: int) -> int | None:
    """Return the most tokens that the first of some calls may read; None if nothing limits it."""
    grown = (calls - 1) * (sampling.max_tokens + _MARGIN)
    limits = []
    if left.tokens is not None:
        limits.append((left.tokens - grown * calls // 2) // calls)
    if left.context_window is not None:
        limits.append(left.context_window - sampling.max_tokens - grown)
    return min(limits, default=None)

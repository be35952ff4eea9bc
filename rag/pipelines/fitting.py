"""How many contexts fit the model's window and what is left of the budget."""

from __future__ import annotations

from collections.abc import Callable

from rag.core.generation import Prompt, Sampling
from rag.core.operations import CountTokens, Remaining


async def contexts_that_fit(
    render: Callable[[int], Prompt], count: int, sampling: Sampling, *, calls: int = 1
) -> int:
    """Return how many contexts, most important first, a prompt can hold; 0 if not even one.

    Args:
        render: Makes the prompt with so many contexts; its tokens grow with them.
        count: Contexts there are.
        sampling: How the reply will be generated; its `max_tokens` need room in the window.
        calls: Calls that what is left has to do for. All but the first read what was written
            before, too.
    """
    left = await Remaining()
    limits = []
    if left.tokens is not None:
        limits.append((left.tokens - (calls - 1) * sampling.max_tokens) // calls)
    if left.context_window is not None:
        limits.append(left.context_window - calls * sampling.max_tokens)
    if not limits:
        return count
    fits, too_many = 0, count + 1
    probe = count
    while too_many - fits > 1:
        if await CountTokens(render(probe)) <= min(limits):
            fits = probe
        else:
            too_many = probe
        probe = (fits + too_many) // 2
    return fits

"""Passages cut to the tokens that a model is to read of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rag.core.errors import BudgetExhausted
from rag.core.generation import Prompt
from rag.core.hits import Hit
from rag.core.operations import CountTokens, together
from rag.core.protocols import LLM


async def shortened(hits: Sequence[Hit], tokens: int, llm: LLM) -> tuple[list[Hit], int]:
    """Cut passages that are too long, after a word where there are spaces between words.

    Args:
        hits: The hits.
        tokens: Tokens of a passage's text at most, as the model counts them; at least 1.
        llm: The model.

    Returns:
        The hits, those that were too long with shorter passages, and how many those were. All are
        as they were where the budget's time is up; it allows no call that would read them either.
    """
    # A token has at least one byte, so short texts need no counting.
    texts = list({each.passage.text: None for each in hits if _bytes(each) > tokens})
    if not texts:
        return list(hits), 0
    try:
        one = await CountTokens(Prompt("a"), llm)
        ends = await together(*(_fitting(text, one - 1 + tokens, llm) for text in texts))
    except BudgetExhausted:
        return list(hits), 0
    cuts = {text: end for text, end in zip(texts, ends, strict=True) if end < len(text)}
    result = [_cut(hit, cuts.get(hit.passage.text, len(hit.passage.text))) for hit in hits]
    return result, sum(hit.passage.text in cuts for hit in hits)


async def _fitting(text: str, limit: int, llm: LLM) -> int:
    """Return how many characters of a text a prompt of so many tokens can hold."""
    fits, too_many, probe = 0, len(text) + 1, len(text)
    while too_many - fits > 1:
        if await CountTokens(Prompt(text[:probe]), llm) <= limit:
            fits = probe
        else:
            too_many = probe
        probe = (fits + too_many) // 2
    whole = text[:fits].rstrip()
    if fits == len(text) or text[fits].isspace() or len(whole) < fits:
        return fits
    before, *last = whole.rsplit(maxsplit=1) or [""]
    return len(before) if last else fits


def _cut(hit: Hit, end: int) -> Hit:
    passage = hit.passage
    if end == len(passage.text):
        return hit
    return replace(hit, passage=replace(passage, text=passage.text[:end], end=passage.start + end))


def _bytes(hit: Hit) -> int:
    return len(hit.passage.text.encode(errors="replace"))

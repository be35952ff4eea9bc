"""Identifiers of passages that are one token each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_uppercase

from rag.core.errors import Unsupported
from rag.core.generation import Prompt
from rag.core.operations import CountTokens, together
from rag.core.protocols import LLM

_LETTERS = tuple(ascii_uppercase)
_PAIRS = tuple("".join(pair) for pair in product(ascii_uppercase, repeat=2))


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What passages are called, and how a reply that begins with each of them goes on.

    Args:
        labels: What they are called in the prompt.
        reply_prefix: What the reply begins with, before the token that tells.
        spellings: The tokens that may stand for each label.
    """

    labels: tuple[str, ...]
    reply_prefix: str
    spellings: tuple[tuple[str, ...], ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens that tell."""
        return tuple(token for spelling in self.spellings for token in spelling)

    def first(self, count: int) -> Identifiers:
        """Return the first so many."""
        return Identifiers(self.labels[:count], self.reply_prefix, self.spellings[:count])


async def choose_identifiers(count: int, llm: LLM) -> Identifiers:
    """Choose identifiers that a model's tokenizer keeps whole, right after what comes before them.

    In '[B] > [A]' some tokenizers have a token for '[' and one for 'B', others one for '[B': the
    token that tells has to be the one that the model would write. Letters come first, then pairs
    of them. Where the reply cannot be begun for the model, or its tokens not be counted, it is to
    begin with the bare letter, with or without a space before it.

    Args:
        count: How many are needed.
        llm: The model.

    Raises:
        Unsupported: There are not as many.
    """
    exact = {"reply_prefix", "exact_counts"} <= llm.capabilities
    for labels in (_LETTERS, _LETTERS + _PAIRS) if exact else (_LETTERS,):
        found = await _whole(labels, llm) if exact else _bare(labels)
        if len(found.labels) >= count:
            return found.first(count)
    raise Unsupported(
        llm.name,
        f"{count} identifiers of one token each (it has {len(found.labels)})",
        "give a smaller window, or use PermutationRanker",
    )


async def _whole(labels: Sequence[str], llm: LLM) -> Identifiers:
    texts = ["", "[", *(f"[{label}" for label in labels), *labels]
    empty, bracket, *counts = await together(
        *(CountTokens(Prompt("Rank", reply_prefix=text), llm) for text in texts)
    )
    pairs = list(zip(labels, counts, counts[len(labels) :], strict=False))
    apart = [
        label
        for label, joined, alone in pairs
        if (bracket, joined, alone) == (empty + 1, empty + 2, empty + 1)
    ]
    merged = [label for label, joined, _ in pairs if joined == empty + 1]
    if len(merged) > len(apart):
        return Identifiers(tuple(merged), "", tuple((f"[{label}",) for label in merged))
    return Identifiers(tuple(apart), "[", tuple((label,) for label in apart))


def _bare(labels: Sequence[str]) -> Identifiers:
    return Identifiers(tuple(labels), "", tuple((label, f" {label}") for label in labels))

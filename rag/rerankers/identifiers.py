"""Identifiers of passages that are one token each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    of them. Where there are not enough of either kind, or the reply cannot be begun for the model
    or its tokens not be counted, it is to begin with the bare letters.

    Args:
        count: How many are needed.
        llm: The model.

    Raises:
        Unsupported: There are not as many.
    """
    if not {"reply_prefix", "exact_counts"} <= llm.capabilities:
        # The model may begin its reply with a space or without.
        found = [Identifiers(_LETTERS, "", tuple((label, f" {label}") for label in _LETTERS))]
    else:
        found = [*await _whole(_LETTERS, llm)]
        if len(found[-1].labels) < count:
            found = [*await _whole(_LETTERS + _PAIRS, llm)]
    for each in found:
        if len(each.labels) >= count:
            return each.first(count)
    most = max(len(each.labels) for each in found)
    raise Unsupported(
        llm.name,
        f"{count} identifiers of one token each (it has {most})",
        "give a smaller window, or use PermutationRanker",
    )


async def _whole(labels: Sequence[str], llm: LLM) -> Iterator[Identifiers]:
    """Yield those of some labels that are whole after a bracket, with it, and by themselves."""
    texts = ["", "[", *(f"[{label}" for label in labels), *labels]
    empty, bracket, *counts = await together(
        *(CountTokens(Prompt("Rank", reply_prefix=text), llm) for text in texts)
    )
    joined = dict(zip(labels, counts, strict=False))
    alone = dict(zip(labels, counts[len(labels) :], strict=True))
    merged = [label for label in labels if joined[label] == empty + 1]
    bare = [label for label in labels if alone[label] == empty + 1]
    # After '[A', which is one token, the second letter of a pair would be another.
    apart = [
        label
        for label in bare
        if bracket == empty + 1 and joined[label] == empty + 2 and label[0] not in merged
    ]
    after = Identifiers(tuple(apart), "[", tuple((label,) for label in apart))
    within = Identifiers(tuple(merged), "", tuple((f"[{label}",) for label in merged))
    without = Identifiers(tuple(bare), "", tuple((label,) for label in bare))
    return iter((after, within, without))

"""Prompts whose contexts stay apart as tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.core.generation import Prompt
from rag.models.rendering import PromptEncoder

_GAP = "\n\n"
_FOLLOWING = "a"


@dataclass(frozen=True, slots=True)
class Context:
    """A context that is encoded by itself.

    Args:
        tokens: Its tokens, and those of the blank line that ends it.
        source: What tells its text from others; see `source_of`.
    """

    tokens: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class SegmentedPrompt:
    """The tokens of a prompt in three segments.

    Args:
        prefix: What every context is encoded after: the template's opening and the system text.
        contexts: What is encoded in parallel.
        tail: What follows all of them: contexts that are read in sequence, the question, the
            template's opening of the reply.
    """

    prefix: tuple[int, ...]
    contexts: tuple[Context, ...]
    tail: tuple[int, ...]

    def __len__(self) -> int:
        """Return the tokens of all segments."""
        return len(self.own) + sum(len(context.tokens) for context in self.contexts)

    def __add__(self, tokens: Sequence[int]) -> SegmentedPrompt:
        """Return the prompt with tokens after it."""
        return replace(self, tail=(*self.tail, *tokens))

    @property
    def own(self) -> tuple[int, ...]:
        """Prefix and tail."""
        return self.prefix + self.tail

    @property
    def skip(self) -> int:
        """Positions between prefix and tail: contexts share those of the longest of them."""
        return max((len(context.tokens) for context in self.contexts), default=0)


def source_of(context: str) -> str:
    """Return what tells the text of a context from others."""
    return hashlib.sha256(context.encode("utf-8", "surrogatepass")).hexdigest()


def segmented(
    encoder: PromptEncoder, prompts: Sequence[Prompt], sequential: int = 0
) -> list[SegmentedPrompt]:
    """Return prompts as tokens in segments.

    Contexts and tail are tokenised apart, so that a context has the same tokens in every prompt.

    Args:
        encoder: Puts prompts into the model's chat template.
        prompts: The prompts.
        sequential: How many of each one's contexts, the last ones, go to the tail.
    """
    divided = [_divided(prompt, sequential) for prompt in prompts]
    contexts = _contexts(encoder, [text for parallel, _ in divided for text in parallel])
    texts: list[str] = []
    for prompt, (_, rest) in zip(prompts, divided, strict=True):
        system = prompt.system
        if system and encoder.with_system is None:
            system += _GAP
        texts += (system, _GAP.join((*rest, prompt.question)), prompt.reply_prefix)
    ids = iter(encoder.encode(texts))
    found = []
    for (parallel, _), opening, question, reply in zip(divided, ids, ids, ids, strict=True):
        if opening and encoder.with_system is not None:
            head, middle, end = encoder.with_system
            prefix = [*head, *opening, *middle]
        else:
            head, end = encoder.without_system
            prefix = [*head, *opening]
        own = tuple(contexts[text] for text in parallel)
        tail = (*question, *end, *reply)
        if not prefix and (own or not tail):
            # The first tokens of a text draw attention whatever they are (arXiv 2309.17453), so
            # there have to be some that all contexts share.
            prefix = encoder.empty
        found.append(SegmentedPrompt(tuple(prefix), own, tail))
    return found


def _contexts(encoder: PromptEncoder, texts: Sequence[str]) -> dict[str, Context]:
    """Return contexts with the blank line after them, as tokens."""
    distinct = list(dict.fromkeys(texts))
    # A blank line at the end of a text can be other tokens than one that text follows.
    (following,) = encoder.encode([_FOLLOWING])
    found = {}
    for text, ids in zip(
        distinct, encoder.encode([text + _GAP + _FOLLOWING for text in distinct]), strict=True
    ):
        apart = ids[-len(following) :] == following
        tokens = ids[: -len(following)] if apart else encoder.encode([text + _GAP])[0]
        found[text] = Context(tuple(tokens), source_of(text))
    return found


def _divided(prompt: Prompt, sequential: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    count = max(0, len(prompt.contexts) - sequential)
    return prompt.contexts[:count], prompt.contexts[count:]

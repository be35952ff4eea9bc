"""Adaptive parallel encoding as the paper writes it: slow, in float64, with no cache at all."""

from collections.abc import Sequence
from typing import Any

import torch
import transformers

NAME = "reference_of_parallel_encoding"

Layout = tuple[int, Sequence[int], int]
"""Tokens of the prefix, of each context, of the tail."""


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float,
    *,
    layout: Layout,
    temperature: float,
    scale: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    prefix, contexts, _ = layout
    heads, group = query.shape[1], query.shape[1] // key.shape[1]
    output = torch.zeros_like(query)
    starts = [prefix + sum(contexts[:number]) for number in range(len(contexts) + 1)]
    for head in range(heads):
        keys, values = key[0, head // group], value[0, head // group]
        for token in range(query.shape[2]):
            scores = keys @ query[0, head, token] * scaling
            if token < starts[-1]:
                start = max([0, *(first for first in starts if first <= token)])
                seen = (
                    [*range(prefix), *range(start, token + 1)]
                    if token >= prefix
                    else [*range(token + 1)]
                )
                output[0, head, token] = scores[seen].softmax(0) @ values[seen]
                continue
            own = [*range(prefix), *range(starts[-1], token + 1)]
            others = [*range(prefix, starts[-1])]
            mass_of_own = scores[own].exp().sum()
            result = scores[own].exp() @ values[own]
            if others:
                cooled = (scores[others] / temperature).exp()
                mass = cooled.sum() ** (scale * temperature)
                result = result + mass * (cooled / cooled.sum()) @ values[others]
                mass_of_own = mass_of_own + mass
            output[0, head, token] = result / mass_of_own
    return output.transpose(1, 2), None


transformers.AttentionInterface.register(NAME, _attend)


def reference_logits(
    model: Any,
    prefix: Sequence[int],
    contexts: Sequence[Sequence[int]],
    tail: Sequence[int],
    temperature: float,
    scale: float,
) -> torch.Tensor:
    """Return the logits after each token of the tail; shape (tokens, vocabulary).

    Args:
        model: A model of transformers, in float64.
        prefix: Tokens that all contexts follow.
        contexts: Tokens of each.
        tail: Tokens after them.
        temperature: T of the paper.
        scale: S of the paper.
    """
    model.set_attn_implementation(NAME)
    tokens = [*prefix, *(token for context in contexts for token in context), *tail]
    after = len(prefix) + max(map(len, contexts), default=0)
    positions = [
        *range(len(prefix)),
        *(len(prefix) + place for context in contexts for place in range(len(context))),
        *range(after, after + len(tail)),
    ]
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.tensor([positions]),
            use_cache=False,
            layout=(len(prefix), [len(context) for context in contexts], len(tail)),
            temperature=temperature,
            scale=scale,
        )
    logits: torch.Tensor = output.logits[0, -len(tail) :]
    return logits

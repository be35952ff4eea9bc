"""Attention to a part of what is seen, with what it takes to merge the parts."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch


class Partial(NamedTuple):
    """Attention to some of the keys.

    Args:
        output: Weighted values; shape (rows, query heads, tokens, dimension).
        mass: Natural logarithm of the sum of the exponentiated scores, in float32, for half the
            digits of bfloat16 would be lost in it; shape (rows, query heads, tokens).
    """

    output: torch.Tensor
    mass: torch.Tensor


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    *,
    causal: bool = False,
) -> Partial:
    """Return softmax(query key^T · scaling) value, and the mass of the scores.

    On the CPU this is the one operation of torch that returns both; elsewhere flex attention.
    Neither copies the keys that query heads share.

    Args:
        query: Shape (rows, query heads, tokens, dimension).
        key: Shape (rows, key-value heads, keys, dimension).
        value: As `key`.
        mask: What may be seen, True or a number added to the score, broadcast over heads and
            tokens; None for all, or for all before each token. Rows of it that are masked
            throughout have no meaning.
        scaling: Factor of the scores; one over the root of the dimension by default.
        causal: Whether, without a mask, a token sees only the keys up to its own number.
    """
    causal = causal and mask is None and query.shape[2] > 1
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
    if query.device.type == "cpu":
        # Public operations keep the mass to themselves.
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=scaling
        )
        return Partial(*found)
    return flex(query, key, value, mask, scaling, causal=causal, run=_compiled())


def flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    *,
    causal: bool,
    run: Any,
) -> Partial:
    """Do what `attend` does, by flex attention.

    Args:
        query: As for `attend`; so are the others.
        key: Keys.
        value: Values.
        mask: A number added to each score.
        scaling: Factor of the scores.
        causal: Whether tokens see only the keys up to their own number.
        run: `torch.nn.attention.flex_attention.flex_attention`, compiled or as it is.
    """
    from torch.nn.attention.flex_attention import AuxRequest

    def before(score: Any, _row: Any, _head: Any, token: Any, place: Any) -> Any:
        return torch.where(token >= place, score, float("-inf"))

    def masked(score: Any, row: Any, _head: Any, token: Any, place: Any) -> Any:
        return score + seen[row, 0, token, place]

    change: Any = before if causal else None
    if mask is not None:
        seen = mask.expand(query.shape[0], 1, query.shape[2], key.shape[2])
        change = masked
    output, extra = run(
        query,
        key,
        value,
        score_mod=change,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
        return_aux=AuxRequest(lse=True),
    )
    return Partial(output, extra.lse)


@cache
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)

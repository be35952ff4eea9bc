"""Attention for models whose query heads share key-value heads, and for contexts read apart.

On the CPU, transformers copies keys and values once for each query head as soon as a batch is
padded. Read as what they are, shared, they need a third of the memory traffic and give the same
numbers.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import sdpa_mask

from rag.models.partial_attention import attend
from rag.models.shared_contexts import SharedContexts

NAME = "rag_grouped"


def grouped_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    contexts: SharedContexts | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return softmax(query key^T · scaling) value; an attention function of transformers.

    Args:
        module: The attention layer.
        query: Shape (rows, query heads, tokens, dimension).
        key: Shape (rows, key-value heads, tokens so far, dimension).
        value: As `key`.
        attention_mask: What may be seen, broadcast over heads; None for all before each token.
        scaling: Factor of the scores.
        contexts: What rows see beside their own keys and values.

    Returns:
        Shape (rows, tokens, query heads, dimension), and no weights.
    """
    rows, heads, tokens, dimension = query.shape
    shared = key.shape[1]
    if contexts is not None:
        own = attend(query, key, value, attention_mask, scaling, causal=True)
        output = contexts.merged(own, module.layer_idx, query, scaling)
        return output.transpose(1, 2).contiguous(), None
    if tokens == 1:
        # The heads of a group ask the same keys: to the kernel they are tokens of one head.
        query = query.reshape(rows, shared, heads // shared, dimension)
        output = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling
        )
        return output.reshape(rows, 1, heads, dimension), None
    output = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        scale=scaling,
        is_causal=attention_mask is None,
        enable_gqa=heads != shared,
    )
    return output.transpose(1, 2).contiguous(), None


transformers.AttentionInterface.register(NAME, grouped_attention)
transformers.AttentionMaskInterface.register(NAME, sdpa_mask)

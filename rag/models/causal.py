"""Forward passes of a causal language model over padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.cache_utils import Cache, DynamicLayer

from rag.core.errors import ModelError
from rag.models import attention
from rag.models.key_values import GrowingLayer, State, nothing_read
from rag.models.quiet import quiet


class CausalModel:
    """A causal language model and its tokenizer.

    Rows are padded on the left, with position ids counted from the first real token, so that
    what a row reads does not depend on the batch it is in. To be used by one thread, in
    `torch.inference_mode`.

    Args:
        folder: A folder with safetensors weights, configuration and tokenizer.
        device: Where to run it.
        dtype: Number format of weights and activations.

    Raises:
        ModelError: The folder holds no model that transformers can load.
    """

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        model, self.tokenizer = load_causal(folder, device, dtype)
        self._model = model.eval()
        self.device = device
        layers = transformers.DynamicCache(config=self._model.config).layers
        # Others keep a window or a running state, which cannot be cut at any token.
        self.full_attention = all(type(layer) is DynamicLayer for layer in layers)
        self._attention = self._model.config._attn_implementation
        capped = getattr(self._model.config, "attn_logit_softcapping", None)
        if self.full_attention and torch.device(device).type == "cpu" and not capped:
            self._attention = attention.NAME

    def _attend_with(self, name: str) -> None:
        if self._model.config._attn_implementation != name:
            self._model.set_attn_implementation(name)

    @property
    def window(self) -> int | None:
        """Tokens that the model has positions for, where its configuration tells."""
        config = self._model.config.get_text_config(decoder=True)
        window: int | None = getattr(config, "max_position_embeddings", None)
        return window

    @property
    def vocabulary(self) -> int:
        """Tokens that the model knows."""
        return int(self._model.config.get_text_config(decoder=True).vocab_size)

    @property
    def rope_types(self) -> set[str]:
        """How the model turns positions into rotations; empty if it uses none."""
        config = self._model.config.get_text_config(decoder=True)
        rope = getattr(config, "rope_parameters", None) or {}
        # Some models have several, under the names of kinds of layers.
        nested = [each for each in rope.values() if isinstance(each, dict)] or [rope]
        return {each["rope_type"] for each in nested if "rope_type" in each}

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a reply."""
        ends = self._model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return frozenset({*ends, self.tokenizer.eos_token_id} - {None})

    def nothing_read(self, rows: int) -> State:
        """Return the state of rows that have read nothing yet."""
        cache = transformers.DynamicCache(config=self._model.config)
        if self.full_attention:
            cache = Cache(layers=[GrowingLayer() for _ in cache.layers])
        return nothing_read(rows, cache, self.device)

    def read(self, rows: Sequence[Sequence[int]], state: State, positions: int = 1) -> torch.Tensor:
        """Let each row of a batch read some tokens more, and change the state accordingly.

        Args:
            rows: The tokens of each.
            state: What they have read before.
            positions: For how many last tokens of each logits are returned.

        Returns:
            Shape (rows, positions, vocabulary).
        """
        longest = max(map(len, rows))
        pads = [longest - len(row) for row in rows]
        ids = [[0] * pad + list(row) for pad, row in zip(pads, rows, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
        read = torch.tensor(mask, device=self.device)
        state.mask = torch.cat((state.mask, read), dim=1)
        numbers = (state.mask.cumsum(-1) - 1).clamp(min=0)[:, -longest:]
        self._attend_with(attention.NAME if state.contexts else self._attention)
        output = self._model(
            input_ids=torch.tensor(ids, device=self.device),
            attention_mask=state.mask,
            position_ids=numbers + state.skips[:, None],
            past_key_values=state.cache,
            use_cache=True,
            logits_to_keep=positions,
            # Keywords that a model does not know reach its attention function.
            **({"contexts": state.contexts} if state.contexts else {}),
        )
        logits: torch.Tensor = output.logits
        return logits


def load_causal(folder: Path, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Return a model of transformers, on a device, and its tokenizer.

    Args:
        folder: A folder with safetensors weights, configuration and tokenizer.
        device: Where to run it.
        dtype: Number format of its weights.

    Raises:
        ModelError: The folder holds no model that transformers can load.
    """
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, **options
            )
        return model.to(device), tokenizer
    except Exception as error:  # broken files raise anything at all
        raise ModelError(f"{folder}: cannot be loaded: {error}") from error

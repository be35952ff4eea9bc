"""Forward passes of a causal language model over padded batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from rag.core.errors import ModelError
from rag.models.quiet import quiet


@dataclass
class State:
    """What a batch has read so far.

    Args:
        cache: Keys and values of every layer.
        mask: 1 for tokens, 0 for padding; shape (rows, tokens so far).
    """

    cache: Any
    mask: torch.Tensor

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        index = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(index)
        self.mask = self.mask[index]


class CausalModel:
    """A causal language model and its tokenizer.

    Rows are padded on the left, with position ids counted from the first real token, so that
    what a row reads does not depend on the batch it is in. One forward pass runs at a time;
    those of several threads take turns.

    Args:
        folder: A folder with safetensors weights, configuration and tokenizer.
        device: Where to run it.
        dtype: Number format of weights and activations.

    Raises:
        ModelError: The folder holds no model that transformers can load.
    """

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            with quiet():
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
                model = transformers.AutoModelForCausalLM.from_pretrained(
                    folder, dtype=dtype, use_safetensors=True, **options
                )
            self._model = model.to(device).eval()
        except Exception as error:  # broken files raise anything at all
            raise ModelError(f"{folder}: cannot be loaded: {error}") from error
        self._device = device
        self._lock = threading.Lock()

    @property
    def window(self) -> int | None:
        """Tokens that the model has positions for, where its configuration tells."""
        config = self._model.config.get_text_config(decoder=True)
        window: int | None = getattr(config, "max_position_embeddings", None)
        return window

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end a reply."""
        ends = self._model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        return frozenset({*ends, self.tokenizer.eos_token_id} - {None})

    def read(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, State]:
        """Read the beginnings of replies.

        Returns:
            Logits of the next token, shape (rows, vocabulary), and what to continue from.
        """
        ids, mask = self._padded(rows)
        cache = transformers.DynamicCache(config=self._model.config)
        return self._forward(ids, mask, 1, cache)[:, -1], State(cache, mask)

    def step(self, state: State, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of each row; returns logits as `read` does."""
        ids = torch.tensor(tokens, device=self._device)[:, None]
        state.mask = torch.nn.functional.pad(state.mask, (0, 1), value=1)
        return self._forward(ids, state.mask, 1, state.cache)[:, -1]

    def continuation_logprobs(
        self, prompts: Sequence[list[int]], continuations: Sequence[list[int]]
    ) -> list[list[float]]:
        """Return the log-probability of each token of each prompt's continuation.

        Logits are computed for as many final positions as the longest continuation has tokens.
        """
        # The last token of a continuation is predicted, never read.
        rows = [
            (prompt + continuation)[: max(len(prompt), len(prompt) + len(continuation) - 1)]
            for prompt, continuation in zip(prompts, continuations, strict=True)
        ]
        last = max(1, *map(len, continuations))
        logits = self._forward(*self._padded(rows), last, None)
        logprobs = []
        for row, continuation in zip(logits, continuations, strict=True):
            own = row[last - len(continuation) :].float()
            chosen = own[torch.arange(len(continuation)), continuation]
            logprobs.append((chosen - own.logsumexp(-1)).tolist())
        return logprobs

    def next_logprobs(
        self, prompts: Sequence[list[int]], tokens: Sequence[int]
    ) -> list[list[float]]:
        """Return the log-probability of each of some tokens after each prompt."""
        logits = self._forward(*self._padded(prompts), 1, None)[:, -1].float()
        logprobs: list[list[float]] = (
            logits[:, list(tokens)] - logits.logsumexp(-1, keepdim=True)
        ).tolist()
        return logprobs

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, rows))
        pads = [longest - len(row) for row in rows]
        ids = [[0] * pad + list(row) for pad, row in zip(pads, rows, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
        return torch.tensor(ids, device=self._device), torch.tensor(mask, device=self._device)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, last: int, cache: Any
    ) -> torch.Tensor:
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with self._lock, torch.inference_mode():
            output = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=last,
            )
        return output.logits

"""Forward passes of a sentence-transformers model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from rag.core.errors import ModelError
from rag.core.protocols import Vectors
from rag.models.lanes import on_lane
from rag.models.quiet import quiet

TokenIds = npt.NDArray[np.int32]
"""The tokens of one text, special tokens included; shape (tokens,)."""


class SentenceEncoder:
    """A transformer, the pooling and whatever follows them, without `encode` around them.

    Matrix products run in `dtype`, and what is sensitive to rounding in float32: the sums between
    layers, pooling, normalisation. Several threads may call at once.

    Args:
        folder: A folder in the format of sentence-transformers, with safetensors weights.
        device: Where to run it.
        dtype: Number format of the transformer's matrix products.

    Raises:
        ModelError: The folder holds no such model, or one that this class cannot run.
    """

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        model = load_safely(SentenceTransformer, folder, device)
        modules = {type(module).__name__: module for module in model}
        tokenizer = model.tokenizer
        if "Transformer" not in modules or "Pooling" not in modules or not tokenizer.is_fast:
            raise ModelError(
                f"{folder}: not a transformer with a fast tokenizer and a pooling module"
            )
        if not getattr(modules["Pooling"], "include_prompt", True) and any(model.prompts.values()):
            raise ModelError(f"{folder}: leaves prompts out of its pooling, which is not supported")

        self.prompts: dict[str, str] = model.prompts
        self.pooling = _pooling_name(modules["Pooling"])
        self.normalized = "Normalize" in modules
        self.max_tokens = int(model.max_seq_length)
        # The tokenizer of the Rust library: faster than its wrapper, and it can be left to
        # neither truncate nor pad.
        self.tokenizer: Any = tokenizer.backend_tokenizer
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self._padding = int(tokenizer.pad_token_id or 0)
        self._device = device
        forward = _Forward(model, dtype).eval()
        # On a CPU the interpreter takes longer over a short text than its arithmetic does.
        with quiet(), torch.inference_mode():
            self._forward = _frozen(forward) if device == "cpu" else forward

    @property
    def cores(self) -> int:
        """Batches that are computed side by side, where there are so many."""
        return torch.get_num_threads() if self._device == "cpu" else 1

    def vectors(self, batches: Sequence[Sequence[TokenIds]]) -> Iterator[Vectors]:
        """Yield the vectors of each batch of texts; shape (texts, dimension)."""
        cores = self.cores
        if not 1 < cores <= len(batches):
            for batch in batches:
                yield on_lane(self._device, self._vectors, batch)
            return
        # Cores that share a batch wait for each other at every operation: give each its own.
        try:
            with ThreadPoolExecutor(cores, "embed", torch.set_num_threads, (1,)) as workers:
                yield from workers.map(self._vectors, batches)
        finally:
            # Threads have numbers of their own, but those to come inherit the last one set.
            torch.set_num_threads(cores)

    def _vectors(self, batch: Sequence[TokenIds]) -> Vectors:
        longest = max(len(ids) for ids in batch)
        ids = np.full((len(batch), longest), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(batch):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        with torch.inference_mode():
            pooled = self._forward(
                torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
            )
            vectors: Vectors = pooled.cpu().numpy()
        return vectors


class _Forward(torch.nn.Module):
    """The modules of a model as one function of tensors."""

    def __init__(self, model: SentenceTransformer, dtype: torch.dtype) -> None:
        super().__init__()
        self.transformer, *others = model.float()
        self.others = torch.nn.ModuleList(others)
        self._dtype = dtype

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        reduced = self._dtype != torch.float32
        with torch.autocast(input_ids.device.type, self._dtype, enabled=reduced):
            features = self.transformer(features)
        features["token_embeddings"] = features["token_embeddings"].float()
        for module in self.others:
            features = module(features)
        return features["sentence_embedding"]


def _frozen(forward: torch.nn.Module) -> Any:
    """Return a graph of a module's operations, or the module if the graph differs from it."""

    def example(rows: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.arange(1, 1 + rows * tokens).reshape(rows, tokens)
        mask = torch.ones_like(ids)
        mask[1:, tokens // 2 :] = 0
        return ids, mask

    with warnings.catch_warnings():
        # TorchScript is deprecated for compilers, which need a C++ toolchain and a minute; and
        # tracing warns of branches, which the comparison below looks after.
        warnings.simplefilter("ignore")
        try:
            graph = torch.jit.freeze(torch.jit.trace(forward, example(2, 8), check_trace=False))
            same = all(
                torch.nn.functional.cosine_similarity(graph(*inputs), forward(*inputs)).min()
                > 0.999
                for inputs in (example(1, 5), example(3, 40))
            )
        except RuntimeError:
            return forward
    return graph if same else forward


def _pooling_name(pooling: Any) -> str:
    modes = pooling.pooling_mode
    return modes if isinstance(modes, str) else "+".join(modes)


def load_safely(kind: type, folder: Path, device: str) -> Any:
    """Load a model of sentence-transformers from safetensors, without the network and its code.

    Args:
        kind: A class of sentence-transformers.
        folder: Where the model is.
        device: Where to run it.

    Raises:
        ModelError: It has pickled weights only, or cannot be loaded.
    """
    for pickled in folder.rglob("pytorch_model*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise ModelError(f"{pickled}: not loaded, since loading it could run code; convert it")
    try:
        with quiet():
            return kind(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be loaded: {error}") from error

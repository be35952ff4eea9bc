"""The model that a reranker is trained from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.models.registry import resolve


@dataclass(frozen=True, slots=True)
class Base:
    """A model as it is before training.

    Args:
        name: What it is found by.
        path: Its folder or GGUF file.
        fingerprint: What tells it from other versions, the same wherever it is.
    """

    name: str
    path: Path
    fingerprint: str

    @classmethod
    def find(cls, name: str, offline: bool | None) -> Base:
        """Find a local model as `load_llm` does.

        Raises:
            ModelNotFound: No such model is at hand.
            ModelError: It has no weights in safetensors format or as GGUF.
        """
        from rag.models.fingerprint import fingerprint

        path = resolve(name, "llm", offline)
        if path.is_dir():
            return cls(name, path, fingerprint(path))
        # What it is converted to differs from one version of transformers to the next.
        with path.open("rb") as file:
            return cls(name, path, hashlib.file_digest(file, "sha256").hexdigest()[:12])

    def load(self, device: str, dtype: str) -> tuple[Any, Any]:
        """Return the model, on a device, and its tokenizer.

        Args:
            device: A torch device.
            dtype: Number format of its weights.

        Raises:
            ModelError: It is none that transformers can load.
        """
        import torch

        from rag.models.causal import load_causal
        from rag.models.gguf import converted

        kind = getattr(torch, dtype)
        folder = self.path if self.path.is_dir() else converted(self.path, kind)
        return load_causal(folder, device, kind)

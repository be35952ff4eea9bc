"""Language models run in this process by transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.core.errors import InputError, ModelError, ModelNotFound
from rag.core.extras import require
from rag.core.generation import Prompt
from rag.models.causal_llm import CausalLLM
from rag.models.rendering import PromptEncoder

if TYPE_CHECKING:
    from rag.models.reading import Reader

_DTYPES = ("auto", "float32", "bfloat16", "float16")

# Tokens that are computed in one pass: beyond these a CPU gains nothing from a larger batch but
# padding.
_CHUNK_TOKENS = {"cpu": 1024, "cuda": 16_384}


class TransformersLLM(CausalLLM[list[int]]):
    """A causal language model in a local folder or GGUF file.

    Prompts are rendered as `PromptEncoder` says: through the model's chat template, without
    hidden text, and with no control token out of the texts of a prompt. Prompts of similar length
    run together; what a prompt gets does not depend on its batch or on what was read before, up
    to rounding, which in float32 leaves greedy replies as they are.

    - What prompts begin with in common, with one another or with earlier prompts and replies, is
      computed once and kept in memory (`prefix_bytes`); replies say how many of their tokens were
      not computed again. Models with layers other than full attention compute all of it.
    - Several threads may call at once: one thread computes for the device, and replies asked for
      while others are being written join their batch.
    - A reply out of `choices` is found token by token among those that spell one, and costs the
      tokens of its text; stop strings do not apply to it. Its log-probabilities end where one
      choice is left.
    - JSON schemas are followed by llguidance's grammars, without white space between parts.
    - Sampling with a seed draws the same random numbers for a prompt in any batch.
    - A continuation is scored by the tokens of its own text, after those of the prompt.

    A GGUF file is converted to safetensors on first use and kept in a cache directory
    (RAG_CACHE, or `~/.cache/ragmeter`).

    Args:
        path: The folder or file.
        name: Name that the registry resolves to this model; the path's own by default.
        device: A torch device; 'auto' is a CUDA device where there is one, else the CPU.
        dtype: 'float32', 'bfloat16', 'float16'; 'auto' is the fastest of them on the device that
            keeps the quality.
        context_window: Tokens of prompt and reply together, at most; by default as the model's
            configuration says.
        batch_tokens: Tokens of prompts and replies that are computed together, padding included;
            more is faster on a GPU and takes more memory.
        prefix_bytes: Memory for what prompts begin with; 0 keeps nothing between calls.

    Raises:
        ModelNotFound: There is nothing at the path.
        ModelError: What is there cannot be loaded.
        MissingExtra: The extra `local` is not installed.
    """

    _reader: Reader

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        context_window: int | None = None,
        batch_tokens: int = 16_384,
        prefix_bytes: int = 1 << 30,
    ) -> None:
        path = Path(path)
        is_gguf = path.suffix.lower() == ".gguf"
        self.name = name or (path.stem if is_gguf else path.name)
        if not path.exists():
            raise ModelNotFound(self.name, [f"{path} does not exist"])
        if dtype not in _DTYPES:
            raise InputError(f"dtype '{dtype}' is not one of {', '.join(_DTYPES)}")
        needed_for = "running a local language model"
        torch = require("torch", extra="local", needed_for=needed_for)
        require("transformers", extra="local", needed_for=needed_for)
        from rag.models.causal import CausalModel
        from rag.models.fingerprint import fingerprint
        from rag.models.gguf import converted
        from rag.models.lanes import on_lane
        from rag.models.precision import default_dtype
        from rag.models.reading import Reader
        from rag.models.writing import Writer

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        precision = default_dtype(device) if dtype == "auto" else getattr(torch, dtype)
        folder = converted(path, precision) if is_gguf else path
        self._model = on_lane(device, CausalModel, folder, device, precision)
        self._encoder = PromptEncoder(self._model.tokenizer)
        self.revision = f"{fingerprint(folder)}-{str(precision).removeprefix('torch.')}"
        window = context_window or self._model.window
        if window is None:
            raise ModelError(f"{path}: states no window; give context_window")
        self.context_window = window
        chunk = _CHUNK_TOKENS["cpu" if device == "cpu" else "cuda"]
        self._reader = Reader(self._model, batch_tokens, chunk, prefix_bytes)
        self._writer = Writer(self._reader, batch_tokens, self._encoder.text_of)

    def _render(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return self._encoder.render(prompts)

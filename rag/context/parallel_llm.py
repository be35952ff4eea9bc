"""A language model that reads the contexts of prompts in parallel, each of them once."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch

from rag.context.calibration import allowed_settings
from rag.context.encoded import SCALE_BYTES
from rag.context.encoder import ContextEncoder
from rag.context.reading import ParallelReader
from rag.context.segments import Context, SegmentedPrompt, segmented
from rag.context.settings import ApeSettings
from rag.context.store import ContextStore
from rag.context.suitability import shape_of
from rag.context.tiers import ContextCache
from rag.core.errors import ContextOverflow
from rag.core.generation import Prompt
from rag.core.progress import Progress, silent
from rag.models.causal_llm import CausalLLM
from rag.models.lanes import on_lane
from rag.models.transformers_llm import TransformersLLM
from rag.models.writing import Writer

# Contexts that are encoded before others get their turn on the device.
_PORTION = 64


class ParallelLLM(CausalLLM[SegmentedPrompt]):
    """Adaptive parallel encoding (APE, arXiv 2502.05431) as a backend for prompts with contexts.

    The system text is read once. Each context is read once, alone after the system text, and its
    keys and values are kept; a question is read over those of all its contexts. So a passage that
    was read for one question costs nothing for the next, in any order and company; and since
    contexts share one range of positions, their sum may exceed the model's window.

    The price is that contexts do not see one another. What that does to answers differs by model
    and task: `rag.context.calibrate` measures it.

    - The question's positions go on after those of the longest context, as in the paper.
    - Prompts without contexts are read as by `llm`.
    - Questions go on where the disk refuses states (`cache.stats.unwritten`); `prefill` does not.
    - `input_tokens` counts all tokens of a prompt, `cached_tokens` those whose states were there.
    - Attention to contexts and to all else is merged in float32 (the authors' code rounds to
      bfloat16 before).

    Args:
        llm: The model; its weights are used, not copied.
        settings: Temperature and scale; by default those that calibration found, as the store's
            manifest has them.
        store: States on disk; without it they are kept in memory only.
        ram_bytes: Memory for states, and at most what the contexts of one prompt take.
        gpu_bytes: The same on the model's device, where that is a GPU.

    Raises:
        Unsupported: The model cannot be read so, or calibration says that answers would suffer.
        InputError: No settings are given and none were calibrated.
    """

    def __init__(
        self,
        llm: TransformersLLM,
        settings: ApeSettings | None = None,
        *,
        store: ContextStore | None = None,
        ram_bytes: int = 4 << 30,
        gpu_bytes: int = 8 << 30,
    ) -> None:
        model = llm._model
        self.name = llm.name
        self._llm = llm
        self._model, self._encoder = model, llm._encoder
        self._shape = shape_of(model, llm.name)
        held = ram_bytes if model.device == "cpu" else gpu_bytes
        self.context_window = llm.context_window + held // self._shape.token_bytes
        self.cache = ContextCache(
            store, ram_bytes=ram_bytes, gpu_bytes=gpu_bytes, device=model.device
        )
        self._contexts = ContextEncoder(llm._reader, self.cache)
        self._adjust(settings or allowed_settings(llm.name, store))

    def with_settings(self, settings: ApeSettings) -> ParallelLLM:
        """Return a model with other settings, over the same weights and kept states."""
        other = copy(self)
        other._adjust(settings)
        return other

    def _adjust(self, settings: ApeSettings) -> None:
        self.settings = settings
        self.revision = (
            f"{self._llm.revision}-ape-{settings.temperature:g}-{settings.scale:g}"
            f"-{settings.sequential}{'-int8' if self.cache.int8 else ''}"
        )
        plain = self._llm._reader
        self._reader = ParallelReader(plain, self._contexts, self._shape, settings)
        self._writer = Writer(self._reader, plain.batch_tokens, self._encoder.text_of)

    def _render(self, prompts: Sequence[Prompt]) -> list[SegmentedPrompt]:
        return segmented(self._encoder, prompts, self.settings.sequential)

    def _overflow(self, prompt: SegmentedPrompt, more: int) -> ContextOverflow | None:
        """Return an error if positions, or the memory for states, do not suffice."""
        window = self._llm.context_window
        positions = len(prompt.own) + prompt.skip + more
        if positions > window:
            return ContextOverflow(self.name, positions, window)
        return super()._overflow(prompt, more)

    def state_bytes(self, prompts: Sequence[Prompt]) -> int:
        """Return the bytes that the states of the contexts of prompts take, each counted once."""
        contexts = self._distinct(prompts)
        tokens = sum(len(context.tokens) for _, context in contexts)
        if self.cache.int8:
            return self._shape.numbers * tokens + SCALE_BYTES * self._shape.numbers * len(contexts)
        return self._shape.token_bytes * tokens

    def prefix_of(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the tokens that the contexts of a prompt are encoded after."""
        return self._render([prompt])[0].prefix

    def prefill(self, prompts: Sequence[Prompt], progress: Progress = silent) -> int:
        """Encode the contexts of prompts, so that questions over them need not wait.

        Args:
            prompts: The prompts; their questions are not read.
            progress: Told of every context.

        Returns:
            Tokens that were computed; 0 if all states were there.

        Raises:
            ContextOverflow: A context is longer than the model's window; nothing was encoded.
            StorageError: The states cannot be written.
        """
        by_prefix: dict[tuple[int, ...], list[Context]] = {}
        for prefix, context in self._distinct(prompts):
            if overflow := self._overflow(SegmentedPrompt(prefix, (context,), ()), 1):
                raise overflow
            by_prefix.setdefault(prefix, []).append(context)
        total = sum(map(len, by_prefix.values()))
        computed = done = 0
        for prefix, contexts in by_prefix.items():
            # In portions, so that other work of the device gets its turn.
            for start in range(0, total, _PORTION):
                some = contexts[start : start + _PORTION]
                computed += on_lane(self._model.device, self._prefill, prefix, some)
                done += len(some)
                progress("encoding contexts", done, total)
        return computed

    @torch.inference_mode()
    def _prefill(self, prefix: tuple[int, ...], contexts: Sequence[Context]) -> int:
        found = self._contexts.encode(prefix, contexts, written=True)
        return sum(len(context.tokens) for context, _, fresh in found if fresh)

    def _distinct(self, prompts: Sequence[Prompt]) -> list[tuple[tuple[int, ...], Context]]:
        pairs = {
            (prompt.prefix, context.tokens): (prompt.prefix, context)
            for prompt in self._render(prompts)
            for context in prompt.contexts
        }
        return list(pairs.values())

"""Language models run in this process by transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from rag.core.errors import BatchError, ContextOverflow, InputError, ModelError, ModelNotFound
from rag.core.extras import require
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.protocols import Capability
from rag.core.usage import Prices
from rag.models.rendering import PromptEncoder

if TYPE_CHECKING:
    from rag.models.decoding import Draft

T = TypeVar("T")

# A scored position needs a row of logits over the whole vocabulary, many times the memory that
# reading a token takes; it counts as this many tokens of a batch.
_SCORED_POSITION = 8

_DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersLLM:
    """A causal language model in a local folder or GGUF file.

    Prompts are rendered as `PromptEncoder` says: through the model's chat template, without
    hidden text, and with no control token out of the texts of a prompt. Prompts of similar length
    run together; what a prompt gets does not depend on its batch, up to rounding, which in
    float32 leaves greedy replies as they are.

    - A reply out of `choices` is found token by token among those that spell one, and costs the
      tokens of its text; stop strings do not apply to it.
    - Sampling with a seed draws the same random numbers for a prompt in any batch.
    - A continuation is scored by the tokens of its own text, after those of the prompt.
    - Several threads may call at once: their forward passes take turns.

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

    Raises:
        ModelNotFound: There is nothing at the path.
        ModelError: What is there cannot be loaded.
        MissingExtra: The extra `local` is not installed.
    """

    capabilities: frozenset[Capability] = frozenset(get_args(Capability))
    prices: Prices | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        context_window: int | None = None,
        batch_tokens: int = 16_384,
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
        from rag.models.gguf import converted
        from rag.models.precision import default_dtype

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        precision = default_dtype(device) if dtype == "auto" else getattr(torch, dtype)
        folder = converted(path, precision) if is_gguf else path
        self._model = CausalModel(folder, device, precision)
        self._encoder = PromptEncoder(self._model.tokenizer)
        window = context_window or self._model.window
        if window is None:
            raise ModelError(f"{path}: states no window; give context_window")
        self.context_window = window
        self._batch_tokens = batch_tokens

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt, exactly as `generate` reads them."""
        return [len(ids) for ids in self._encoder.render(prompts)]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a reply to each prompt; see `LLM.generate`.

        Raises:
            InputError: A choice is longer than `max_tokens`.
        """
        from rag.models.decoding import decode

        drafts = self._drafts(prompts, sampling)
        lengths = [len(draft.prompt) + sampling.max_tokens for draft in drafts]

        def write(rows: Sequence[int]) -> list[Reply]:
            batch = [drafts[row] for row in rows]
            for _ in decode(self._model, batch, sampling):
                pass
            return [draft.reply for draft in batch]

        return self._in_batches(lengths, lengths, write)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield pieces of text as they are written, and the whole `Reply` last.

        Pieces hold whole characters and no part of a stop string. Closing the iterator ends the
        generation.
        """
        (draft,) = self._drafts([prompt], sampling)
        if overflow := self._overflow(len(draft.prompt) + sampling.max_tokens):
            raise overflow
        return self._stream(draft, sampling)

    def _stream(self, draft: Draft, sampling: Sampling) -> Iterator[str | Reply]:
        from rag.models.decoding import decode

        for _ in decode(self._model, [draft], sampling):
            if piece := draft.hand_out():
                yield piece
        if piece := draft.hand_out():
            yield piece
        yield draft.reply

    def _drafts(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Draft]:
        from rag.models.decoding import Draft

        choices = dict(zip(sampling.choices, self._encoder.encode(sampling.choices), strict=True))
        for choice, ids in choices.items():
            if len(ids) > sampling.max_tokens:
                raise InputError(
                    f"the choice '{choice}' has {len(ids)} tokens, more than "
                    f"max_tokens={sampling.max_tokens}"
                )
        ends = self._model.end_tokens
        backend = self._encoder.backend
        return [
            Draft(ids, sampling, backend, ends, choices) for ids in self._encoder.render(prompts)
        ]

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        """Return the log-probabilities of one continuation for each prompt; see `LLM.score`.

        Raises:
            InputError: There are not as many continuations as prompts.
        """
        if len(prompts) != len(continuations):
            raise InputError(f"{len(prompts)} prompts but {len(continuations)} continuations")
        heads = self._encoder.render(prompts)
        tails = self._encoder.encode(continuations)
        lengths = [len(head) + len(tail) for head, tail in zip(heads, tails, strict=True)]
        costs = [
            length + _SCORED_POSITION * len(tail)
            for length, tail in zip(lengths, tails, strict=True)
        ]

        def score(rows: Sequence[int]) -> list[ContinuationScore]:
            logprobs = self._model.continuation_logprobs(
                [heads[row] for row in rows], [tails[row] for row in rows]
            )
            return [
                ContinuationScore(tuple(each), input_tokens=lengths[row])
                for row, each in zip(rows, logprobs, strict=True)
            ]

        return self._in_batches(lengths, costs, score)

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        """Return the log-probability of each of `tokens` as the first of the reply.

        Raises:
            InputError: One of `tokens` is not one token of this model.
        """
        encoded = self._encoder.encode(tokens)
        for token, ids in zip(tokens, encoded, strict=True):
            if len(ids) != 1:
                raise InputError(f"{token!r} is {len(ids)} tokens of {self.name}, not one")
        wanted = [ids[0] for ids in encoded]
        sequences = self._encoder.render(prompts)
        lengths = [len(ids) for ids in sequences]

        def read(rows: Sequence[int]) -> list[NextTokenScores]:
            logprobs = self._model.next_logprobs([sequences[row] for row in rows], wanted)
            return [
                NextTokenScores(dict(zip(tokens, each, strict=True)), input_tokens=lengths[row])
                for row, each in zip(rows, logprobs, strict=True)
            ]

        return self._in_batches(lengths, lengths, read)

    def _overflow(self, tokens: int) -> ContextOverflow | None:
        if tokens <= self.context_window:
            return None
        return ContextOverflow(self.name, tokens, self.context_window)

    def _in_batches(
        self,
        lengths: Sequence[int],
        costs: Sequence[int],
        run: Callable[[Sequence[int]], Sequence[T]],
    ) -> list[T]:
        """Run the items that fit the window, those of similar cost together.

        Args:
            lengths: Tokens each item needs in the window.
            costs: What each item takes of `batch_tokens`.
            run: Computes the results of the items with the given numbers.

        Raises:
            ContextOverflow: There is one item and it does not fit.
            BatchError: Some of several items failed.
        """
        import torch

        results: list[Any] = [self._overflow(length) for length in lengths]
        fitting = [row for row, result in enumerate(results) if result is None]
        for batch in _batches(fitting, costs, self._batch_tokens):
            try:
                outcomes: Sequence[T | ModelError] = run(batch)
            except torch.OutOfMemoryError as error:
                failure = ModelError(f"{self.name}: {error}; give a smaller batch_tokens")
                failure.__cause__ = error
                outcomes = [failure] * len(batch)
            for row, outcome in zip(batch, outcomes, strict=True):
                results[row] = outcome
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0] if len(results) == 1 else BatchError(results)
        return results


def _batches(rows: Sequence[int], costs: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield rows in batches, dearest first, so that memory runs out at once or never.

    A batch costs its rows times the dearest of them, since the others are padded to it.
    """
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: -costs[row]):
        if batch and (len(batch) + 1) * costs[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch

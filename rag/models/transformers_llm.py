"""Language models run in this process by transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from rag.core.capabilities import Capability
from rag.core.errors import BatchError, ContextOverflow, InputError, ModelError, ModelNotFound
from rag.core.extras import require
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.usage import Prices
from rag.models.rendering import PromptEncoder

if TYPE_CHECKING:
    import torch

    from rag.models.constraints import Constraint
    from rag.models.decoding import Draft

T = TypeVar("T")

_DTYPES = ("auto", "float32", "bfloat16", "float16")

# Tokens that are computed in one pass: beyond these a CPU gains nothing from a larger batch but
# padding.
_CHUNK_TOKENS = {"cpu": 1024, "cuda": 16_384}


class TransformersLLM:
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

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt, exactly as `generate` reads them."""
        return [len(ids) for ids in self._encoder.render(prompts)]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a reply to each prompt; see `LLM.generate`.

        Raises:
            InputError: A choice or beginning is longer than `max_tokens`, or the JSON schema
                cannot be followed.
        """
        drafts = self._drafts(prompts, sampling)

        def write(rows: Sequence[int]) -> list[Reply | Exception]:
            asked = [drafts[row] for row in rows]
            self._write([draft for samples in asked for draft in samples])
            return [_reply(samples) for samples in asked]

        lengths = [len(first.prompt) + sampling.max_tokens for first, *_ in drafts]
        return self._each(lengths, write)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield pieces of text as they are written, and the whole `Reply` last.

        Pieces hold whole characters and no part of a stop string; of several samples they are the
        first one's. Closing the iterator ends the generation.
        """
        ((first, *others),) = self._drafts([prompt], sampling, streamed=True)
        if overflow := self._overflow(len(first.prompt) + sampling.max_tokens):
            raise overflow
        return self._stream([first, *others])

    def _stream(self, drafts: Sequence[Draft]) -> Iterator[str | Reply]:
        pieces = drafts[0].pieces
        try:
            self._writer.submit(drafts)
            while pieces and (piece := pieces.get()) is not None:
                yield piece
            for draft in drafts:
                draft.done.wait()
        finally:
            for draft in drafts:
                draft.cancelled = True
        reply = _reply(drafts)
        if isinstance(reply, Exception):
            raise self._explained(reply)
        yield reply

    def _drafts(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, streamed: bool = False
    ) -> list[list[Draft]]:
        """Return the drafts of each prompt, one a sample."""
        from rag.models.decoding import Draft

        constraint = self._constraint(sampling)
        return [
            [
                Draft(
                    ids,
                    sampling,
                    self._encoder.backend,
                    self._model.end_tokens,
                    constraint(),
                    sample=sample,
                    streamed=streamed and sample == 0,
                )
                for sample in range(sampling.n)
            ]
            for ids in self._encoder.render(prompts)
        ]

    def _constraint(self, sampling: Sampling) -> Callable[[], Constraint | None]:
        from rag.models.constraints import Beginning, Choice, schema_constraints

        if isinstance(sampling.json_schema, str):
            return schema_constraints(self._grammar_tokenizer, sampling.json_schema)
        texts = sampling.choices or sampling.starts_with
        spelled = dict(zip(texts, self._encoder.encode(texts), strict=True))
        for text, ids in spelled.items():
            if len(ids) > sampling.max_tokens:
                raise InputError(
                    f"'{text}' has {len(ids)} tokens, more than max_tokens={sampling.max_tokens}"
                )
        if sampling.choices:
            return lambda: Choice(spelled, self._model.end_tokens)
        if sampling.starts_with:
            return lambda: Beginning(spelled)
        return lambda: None

    @cached_property
    def _grammar_tokenizer(self) -> Any:
        require("llguidance", extra="local", needed_for="following a JSON schema")
        from llguidance.hf import from_tokenizer

        return from_tokenizer(self._model.tokenizer, eos_token=sorted(self._model.end_tokens))

    def _write(self, drafts: Sequence[Draft]) -> None:
        """Have drafts written, and wait for all of them."""
        try:
            self._writer.submit(drafts)
            for draft in drafts:
                draft.done.wait()
        finally:
            for draft in drafts:
                draft.cancelled = True

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

        def score(row: int, logits: torch.Tensor, cached: int) -> ContinuationScore:
            tail = tails[row]
            own = logits[len(logits) - len(tail) :].float()
            chosen = own[range(len(tail)), tail] - own.logsumexp(-1)
            return ContinuationScore(
                tuple(chosen.tolist()), input_tokens=lengths[row], cached_tokens=cached
            )

        # The last token of a continuation is predicted, never read.
        read = [
            [*head, *tail[:-1]] if tail else head for head, tail in zip(heads, tails, strict=True)
        ]
        return self._each_read(lengths, read, [max(1, len(tail)) for tail in tails], score)

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
        read = self._encoder.render(prompts)
        lengths = [len(ids) for ids in read]

        def look_up(row: int, logits: torch.Tensor, cached: int) -> NextTokenScores:
            last = logits[-1].float()
            logprobs = (last[wanted] - last.logsumexp(-1)).tolist()
            return NextTokenScores(
                logprobs=dict(zip(tokens, logprobs, strict=True)),
                input_tokens=lengths[row],
                cached_tokens=cached,
            )

        return self._each_read(lengths, read, [1] * len(read), look_up)

    def _overflow(self, tokens: int) -> ContextOverflow | None:
        if tokens <= self.context_window:
            return None
        return ContextOverflow(self.name, tokens, self.context_window)

    def _explained(self, error: Exception) -> Exception:
        import torch

        if not isinstance(error, torch.OutOfMemoryError):
            return error
        explained = ModelError(f"{self.name}: {error}; give a smaller batch_tokens")
        explained.__cause__ = error
        return explained

    def _each_read(
        self,
        lengths: Sequence[int],
        read: Sequence[Sequence[int]],
        positions: Sequence[int],
        result: Callable[[int, torch.Tensor, int], T],
    ) -> list[T]:
        """Read the items that fit the window, and return what their last logits say."""
        import torch

        from rag.models.lanes import on_lane
        from rag.models.reading import Reading

        @torch.inference_mode()
        def work(rows: Sequence[int]) -> list[T | Exception]:
            results: dict[int, T | Exception] = {}
            chosen = [read[row] for row in rows]
            for reading in self._reader.read(chosen, [positions[row] for row in rows]):
                if isinstance(reading, Reading):
                    for place, each, cached in zip(
                        reading.rows, reading.logits, reading.cached, strict=True
                    ):
                        results[place] = result(rows[place], each, cached)
                else:
                    results |= dict.fromkeys(reading[0], reading[1])
            return [results[place] for place in range(len(rows))]

        return self._each(lengths, lambda rows: on_lane(self._model.device, work, rows))

    def _each(
        self, lengths: Sequence[int], run: Callable[[Sequence[int]], Sequence[T | Exception]]
    ) -> list[T]:
        """Run the items that fit the window.

        Args:
            lengths: Tokens each item needs in the window.
            run: Returns a result or an error for each of the items with the given numbers.

        Raises:
            ContextOverflow: There is one item and it does not fit.
            BatchError: Some of several items failed.
        """
        results: list[Any] = [self._overflow(length) for length in lengths]
        fitting = [row for row, result in enumerate(results) if result is None]
        for row, result in zip(fitting, run(fitting) if fitting else (), strict=True):
            results[row] = self._explained(result) if isinstance(result, Exception) else result
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0] if len(results) == 1 else BatchError(results)
        return results


def _reply(samples: Sequence[Draft]) -> Reply | Exception:
    """Return the reply of a prompt's drafts, or what made one of them fail."""
    if errors := [draft.error for draft in samples if draft.error]:
        return errors[0]
    first, *others = (draft.reply for draft in samples)
    return replace(
        first, others=tuple(replace(each, input_tokens=0, cached_tokens=0) for each in others)
    )

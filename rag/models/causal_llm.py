"""What language models of this process have in common, however their prompts become states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from rag.core.capabilities import Capability
from rag.core.errors import BatchError, ContextOverflow, InputError, ModelError
from rag.core.extras import require
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.usage import Prices
from rag.models.rendering import PromptEncoder

if TYPE_CHECKING:
    import torch

    from rag.models.causal import CausalModel
    from rag.models.constraints import Constraint
    from rag.models.decoding import Draft
    from rag.models.reading import PromptReader
    from rag.models.writing import Writer

T = TypeVar("T")
P = TypeVar("P", bound=Any)


class CausalLLM(ABC, Generic[P]):
    """Writes and scores with a model in this process.

    A subclass says what the tokens of a prompt are (a list, or something with parts), and has a
    reader that turns them into states to go on from.

    Attributes:
        name: Name that the registry resolves to this model.
        revision: Version of its weights and of how it is run.
        context_window: Tokens of prompt and reply together, at most.
    """

    capabilities: frozenset[Capability] = frozenset(get_args(Capability))
    prices: Prices | None = None
    name: str
    revision: str
    context_window: int
    _model: CausalModel
    _encoder: PromptEncoder
    _reader: PromptReader[P]
    _writer: Writer

    @abstractmethod
    def _render(self, prompts: Sequence[Prompt]) -> list[P]:
        """Return the tokens of prompts; they have a length, and a list can be added to them."""

    def _overflow(self, prompt: P, more: int) -> ContextOverflow | None:
        """Return an error if a prompt and so many tokens more do not fit the window."""
        tokens = len(prompt) + more
        if tokens <= self.context_window:
            return None
        return ContextOverflow(self.name, tokens, self.context_window)

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt, exactly as `generate` reads them."""
        return [len(tokens) for tokens in self._render(prompts)]

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

        return self._each([first.prompt for first, *_ in drafts], sampling.max_tokens, write)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield pieces of text as they are written, and the whole `Reply` last.

        Pieces hold whole characters and no part of a stop string; of several samples they are the
        first one's. Closing the iterator ends the generation.
        """
        ((first, *others),) = self._drafts([prompt], sampling, streamed=True)
        if overflow := self._overflow(first.prompt, sampling.max_tokens):
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
                    tokens,
                    sampling,
                    self._encoder.backend,
                    self._model.end_tokens,
                    constraint(),
                    sample=sample,
                    streamed=streamed and sample == 0,
                )
                for sample in range(sampling.n)
            ]
            for tokens in self._render(prompts)
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
        heads = self._render(prompts)
        tails = self._encoder.encode(continuations)

        def score(row: int, logits: torch.Tensor, cached: int) -> ContinuationScore:
            tail = tails[row]
            own = logits[len(logits) - len(tail) :].float()
            chosen = own[range(len(tail)), tail] - own.logsumexp(-1)
            return ContinuationScore(
                tuple(chosen.tolist()),
                input_tokens=len(heads[row]) + len(tail),
                cached_tokens=cached,
            )

        # The last token of a continuation is predicted, never read.
        read = [head + tail[:-1] for head, tail in zip(heads, tails, strict=True)]
        return self._each_read(read, [len(tail) for tail in tails], score)

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
        read = self._render(prompts)

        def look_up(row: int, logits: torch.Tensor, cached: int) -> NextTokenScores:
            last = logits[-1].float()
            logprobs = (last[wanted] - last.logsumexp(-1)).tolist()
            return NextTokenScores(
                logprobs=dict(zip(tokens, logprobs, strict=True)),
                input_tokens=len(read[row]),
                cached_tokens=cached,
            )

        return self._each_read(read, [1] * len(read), look_up)

    def _explained(self, error: Exception) -> Exception:
        import torch

        if not isinstance(error, torch.OutOfMemoryError):
            return error
        explained = ModelError(f"{self.name}: {error}; give a smaller batch_tokens")
        explained.__cause__ = error
        return explained

    def _each_read(
        self,
        read: Sequence[P],
        predicted: Sequence[int],
        result: Callable[[int, torch.Tensor, int], T],
    ) -> list[T]:
        """Read the items that fit the window, and return what their last logits say.

        Args:
            read: What is read of each.
            predicted: How many tokens of each are predicted, the last of which is never read.
            result: Makes the result of an item, from its number, its logits and what was cached.
        """
        import torch

        from rag.models.lanes import on_lane
        from rag.models.reading import Reading

        @torch.inference_mode()
        def work(rows: Sequence[int]) -> list[T | Exception]:
            results: dict[int, T | Exception] = {}
            chosen = [read[row] for row in rows]
            positions = [max(1, predicted[row]) for row in rows]
            for reading in self._reader.read(chosen, positions):
                if isinstance(reading, Reading):
                    for place, each, cached in zip(
                        reading.rows, reading.logits, reading.cached, strict=True
                    ):
                        results[place] = result(rows[place], each, cached)
                else:
                    results |= dict.fromkeys(reading[0], reading[1])
            return [results[place] for place in range(len(rows))]

        return self._each(read, 0, lambda rows: on_lane(self._model.device, work, rows))

    def _each(
        self,
        prompts: Sequence[P],
        more: int,
        run: Callable[[Sequence[int]], Sequence[T | Exception]],
    ) -> list[T]:
        """Run the items that fit the window.

        Args:
            prompts: The items.
            more: Tokens that have to fit the window after each.
            run: Returns a result or an error for each of the items with the given numbers.

        Raises:
            ContextOverflow: There is one item and it does not fit.
            BatchError: Some of several items failed.
        """
        results: list[Any] = [self._overflow(prompt, more) for prompt in prompts]
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

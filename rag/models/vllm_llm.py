"""Language models run by vLLM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from rag.core.capabilities import Capability
from rag.core.errors import (
    BatchError,
    ContextOverflow,
    InputError,
    ModelNotFound,
    Unsupported,
)
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.usage import Prices
from rag.models import vllm_requests as requests
from rag.models.fingerprint import fingerprint
from rag.models.rendering import PromptEncoder
from rag.models.vllm_engine import VLLMEngine

T = TypeVar("T")

# Tokens whose log-probabilities one request of vLLM may name.
_NAMED_TOKENS = 128


class VLLM:
    """A causal language model in a local folder, run by vLLM (arXiv 2309.06180).

    Prompts are rendered as `PromptEncoder` says and reach vLLM as tokens. Calls of all threads
    join one running batch, and what prompts begin with in common is read once and kept. `Sampling`
    means the same as on every backend, whatever the model's folder recommends.

    - A reply out of `choices` takes one token more than its text, to end, and its prompt leaves
      room for the longest spelling, a token a byte; stop strings do not apply to it.
    - JSON schemas are followed by llguidance's grammars, without white space between parts.
    - vLLM knows log-probabilities of written tokens only after constraints, so `logprobs` does
      not go together with `choices`, `starts_with` and `json_schema`.
    - `score` reads its whole prompt each time: vLLM uses no kept prefix for a prompt it scores.
      It has to write a token besides, so one less fits the window.
    - `next_token` sees any token where vLLM runs its second model runner, as it does for most
      models on GPUs; elsewhere it sees the `max_logprobs` likeliest. It takes a token, too.

    vLLM runs the model in processes that it starts: a script that makes a `VLLM` needs the guard
    `if __name__ == "__main__":`. Unless variables of vLLM's own in the environment say otherwise,
    it sends no usage statistics and logs errors only, on standard error.

    Args:
        path: The folder: safetensors weights, configuration, tokenizer. Quantised weights are
            read as their configuration says; code in the folder is never run.
        name: Name that the registry resolves to this model; the folder's own by default.
        dtype: 'float32', 'bfloat16', 'float16'; 'auto' is what vLLM makes of the weights' own.
        context_window: Tokens of prompt and reply together, at most; by default as the model's
            configuration says.
        tensor_parallel_size: GPUs that each layer is spread over.
        gpu_memory_utilization: Share of each GPU's memory to take, above 0, at most 1.
        max_logprobs: Likeliest tokens that a call may ask for, at least 1.
        lora: Folder of a LoRA adapter in PEFT's format, with safetensors weights.
        enforce_eager: Start sooner and run slower, without compiled kernels and CUDA graphs.
        prices: What tokens cost, if anything.

    Raises:
        ModelNotFound: There is no folder at the path, or none at `lora`.
        ModelError: What is there cannot be loaded.
        InputError: `max_logprobs` is below 1.
        MissingExtra: The extra `vllm` is not installed.
    """

    capabilities: frozenset[Capability] = frozenset(get_args(Capability))

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        dtype: str = "auto",
        context_window: int | None = None,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float = 0.9,
        max_logprobs: int = 20,
        lora: str | Path | None = None,
        enforce_eager: bool = False,
        prices: Prices | None = None,
    ) -> None:
        path, adapter = Path(path), None if lora is None else Path(lora)
        self.name = name or path.name
        folders = [path] if adapter is None else [path, adapter]
        for folder in folders:
            if not folder.is_dir():
                raise ModelNotFound(self.name, [f"{folder} is not a folder"])
        if max_logprobs < 1:
            raise InputError(f"max_logprobs is {max_logprobs}; it must be at least 1")
        weights = [fingerprint(folder) for folder in folders]
        options: dict[str, Any] = {
            "dtype": dtype,
            "tensor_parallel_size": tensor_parallel_size,
            "gpu_memory_utilization": gpu_memory_utilization,
            "max_logprobs": max_logprobs,
            "enforce_eager": enforce_eager,
        }
        if context_window is not None:
            options["max_model_len"] = context_window
        self._engine = VLLMEngine(self.name, path, adapter, options)
        self._encoder = PromptEncoder(self._engine.tokenizer)
        self.context_window = self._engine.window
        self.revision = "-".join((*weights, self._engine.version))
        self.prices = prices
        self._max_logprobs = max_logprobs
        self._names_tokens = self._engine.names_tokens

    def close(self) -> None:
        """End vLLM's processes and free their memory; calls after that raise `ModelError`."""
        self._engine.close()

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt, exactly as `generate` reads them."""
        return [len(ids) for ids in self._encoder.render(prompts)]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a reply to each prompt; see `LLM.generate`.

        Raises:
            InputError: A choice or beginning is longer than `max_tokens`, more `logprobs` are
                asked for than `max_logprobs`, or vLLM cannot follow the sampling.
            Unsupported: Log-probabilities of a constrained reply are asked for.
        """
        options = self._options(sampling)
        return self._each(
            self._encoder.render(prompts),
            options,
            lambda _, answer: self._reply(answer, answer.outputs, sampling),
        )

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield pieces of text as they are written, and the whole `Reply` last.

        Pieces hold whole characters and no part of a stop string; of several samples they are the
        first one's. Closing the iterator ends the generation.
        """
        options = self._options(sampling)
        (ids,) = self._encoder.render([prompt])
        if overflow := self._overflow(ids, options):
            raise overflow
        return self._stream(ids, options, sampling)

    def _stream(
        self, ids: Sequence[int], options: Mapping[str, Any], sampling: Sampling
    ) -> Iterator[str | Reply]:
        samples: dict[int, Any] = {}
        sent = ""
        for answer in self._engine.stream(ids, options):
            samples.update((sample.index, sample) for sample in answer.outputs)
            text = samples[0].text if 0 in samples else ""
            if len(text) > len(sent):
                yield text[len(sent) :]
                sent = text
        yield self._reply(answer, [samples[index] for index in sorted(samples)], sampling)

    def _reply(self, answer: Any, samples: Sequence[Any], sampling: Sampling) -> Reply:
        return requests.reply(answer, samples, sampling.logprobs, self._encoder.text_of)

    def _options(self, sampling: Sampling) -> dict[str, Any]:
        """Return what the engine is asked, having refused what it cannot follow."""
        options = requests.sampling_options(sampling)
        if sampling.logprobs is not None:
            if "structure" in options:
                raise Unsupported(
                    self.name, "logprobs of constrained replies", "TransformersLLM has them"
                )
            if sampling.logprobs > self._max_logprobs:
                raise InputError(
                    f"logprobs is {sampling.logprobs}; {self.name} was opened with "
                    f"max_logprobs={self._max_logprobs}"
                )
        texts = sampling.choices or sampling.starts_with
        for text, ids in zip(texts, self._encoder.encode(texts), strict=True):
            if len(ids) > sampling.max_tokens:
                raise InputError(
                    f"'{text}' has {len(ids)} tokens, more than max_tokens={sampling.max_tokens}"
                )
        return options

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        """Return the log-probabilities of one continuation for each prompt; see `LLM.score`.

        Raises:
            InputError: There are not as many continuations as prompts.
        """
        if len(prompts) != len(continuations):
            raise InputError(f"{len(prompts)} prompts but {len(continuations)} continuations")
        heads, tails = self._encoder.render(prompts), self._encoder.encode(continuations)
        return self._each(
            [head + tail for head, tail in zip(heads, tails, strict=True)],
            requests.reading_options(prompt_logprobs=0),
            lambda row, answer: requests.continuation_score(answer, len(tails[row])),
        )

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        """Return the log-probability of each of `tokens` as the first of the reply.

        Raises:
            InputError: One of `tokens` is not one token of this model.
        """
        wanted: dict[str, int] = {}
        for token, ids in zip(tokens, self._encoder.encode(tokens), strict=True):
            if len(ids) != 1:
                raise InputError(f"{token!r} is {len(ids)} tokens of {self.name}, not one")
            wanted[token] = ids[0]
        named = sorted(set(wanted.values()))
        if self._names_tokens and 0 < len(named) <= _NAMED_TOKENS:
            options = requests.reading_options(logprob_token_ids=named)
        else:
            options = requests.reading_options(logprobs=self._max_logprobs)
        return self._each(
            self._encoder.render(prompts),
            options,
            lambda _, answer: requests.next_token_scores(answer, wanted),
        )

    def _overflow(self, ids: Sequence[int], options: Mapping[str, Any]) -> ContextOverflow | None:
        needed = len(ids) + options["max_tokens"]
        if needed <= self.context_window:
            return None
        return ContextOverflow(self.name, needed, self.context_window)

    def _each(
        self,
        sequences: Sequence[Sequence[int]],
        options: Mapping[str, Any],
        read: Callable[[int, Any], T],
    ) -> list[T]:
        """Run the sequences that fit the window.

        Args:
            sequences: Tokens to read.
            options: What the engine is asked of each.
            read: Turns the number of a sequence and the engine's answer into a result.

        Raises:
            InputError: The engine cannot follow the options.
            ContextOverflow: There is one sequence and it does not fit.
            BatchError: Some of several sequences failed.
        """
        results: list[Any] = [self._overflow(ids, options) for ids in sequences]
        rows = [row for row, overflow in enumerate(results) if overflow is None]
        answers = self._engine.answer([sequences[row] for row in rows], options)
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, InputError):
                raise answer
            results[row] = answer if isinstance(answer, Exception) else read(row, answer)
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0] if len(results) == 1 else BatchError(results)
        return results

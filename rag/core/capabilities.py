"""What a language model backend can do, and the refusal of what it cannot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from rag.core.errors import Unsupported
from rag.core.generation import Prompt, Sampling

Capability = Literal[
    "generate",
    "stream",
    "score",
    "next_token",
    "reply_prefix",
    "choices",
    "starts_with",
    "json_schema",
    "logprobs",
    "seed",
    "exact_counts",
    "concurrent",
]
"""What a backend may be able to do:

- generate, stream, score, next_token: the methods of those names;
- reply_prefix: go on after a `Prompt.reply_prefix`;
- choices, starts_with, json_schema, logprobs, seed: follow the fields of `Sampling`;
- exact_counts: `count_tokens` counts what the model reads, and does not estimate it;
- concurrent: calls of several threads run side by side, not one after the other.
"""

_LOCAL = "TransformersLLM and VLLM have it"
_SERVERS = f"{_LOCAL}, and so has OpenAICompatibleLLM on servers of vLLM and llama.cpp"
_INSTEAD: Mapping[Capability, str] = {
    "stream": "TransformersLLM and OpenAICompatibleLLM have it",
    "score": f"{_LOCAL}, and so has OpenAICompatibleLLM on a server of vLLM, given a tokenizer",
    "next_token": f"{_LOCAL}, and so has OpenAICompatibleLLM where the server returns logprobs",
    "reply_prefix": _SERVERS,
    "choices": _SERVERS,
    "starts_with": _SERVERS,
}


def refuse_unsupported(
    name: str,
    capabilities: Collection[Capability],
    method: Capability,
    prompts: Sequence[Prompt] = (),
    sampling: Sampling | None = None,
) -> None:
    """Refuse a call that asks for more than a backend can do, before any token is spent.

    Args:
        name: The backend's name.
        capabilities: What it can do.
        method: Which method was called.
        prompts: With which prompts.
        sampling: With which sampling.

    Raises:
        Unsupported: Something asked for is missing; the error says which backends have it.
    """
    for each in _asked(method, prompts, sampling):
        if each not in capabilities:
            raise Unsupported(name, each, _INSTEAD.get(each, _LOCAL))


def _asked(
    method: Capability, prompts: Sequence[Prompt], sampling: Sampling | None
) -> Iterator[Capability]:
    yield method
    if any(prompt.reply_prefix for prompt in prompts):
        yield "reply_prefix"
    if sampling is None:
        return
    if sampling.choices:
        yield "choices"
    if sampling.starts_with:
        yield "starts_with"
    if sampling.json_schema is not None:
        yield "json_schema"
    if sampling.logprobs is not None:
        yield "logprobs"
    if sampling.seed is not None:
        yield "seed"

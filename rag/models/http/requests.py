"""Requests as servers take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag.core.generation import Sampling
from rag.models.http.servers import GenericServer

# Of each message, for what a chat template puts around it.
_AROUND_A_MESSAGE = 4

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as a server is given it.

    Args:
        body: The fields of the request that hold it: 'prompt' with tokens, or 'messages'.
        tokens: How many tokens the server reads.
        exact: Whether they were counted, not estimated.
    """

    body: Mapping[str, Any]
    tokens: int
    exact: bool

    @property
    def chat(self) -> bool:
        """Whether it is a chat of messages."""
        return "messages" in self.body


def estimate_tokens(*texts: str) -> int:
    """Return an estimate of the tokens of some messages that is rather too high than too low."""
    return sum(math.ceil(len(text.encode(errors="replace")) / 3) for text in texts)


def estimate_messages(*texts: str) -> int:
    """Return an estimate of the tokens of some messages, template included."""
    return estimate_tokens(*texts) + _AROUND_A_MESSAGE * len(texts)


def generation(
    model: str,
    server: GenericServer,
    prompt: Rendered,
    sampling: Sampling,
    *,
    apart: bool = False,
) -> list[Body]:
    """Return the requests that draw the replies to a prompt.

    Args:
        model: The model's name on the server.
        server: The kind of server.
        prompt: The prompt.
        sampling: How to generate.
        apart: Whether each reply needs a request of its own.
    """
    together = server.draws_many and not apart
    body = {
        "model": model,
        **prompt.body,
        **server.sampler(),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        **server.form(sampling),
    }
    if sampling.stop and not sampling.choices:  # one of the choices is whole, whatever it holds
        body["stop"] = list(sampling.stop)
    if sampling.logprobs is not None:
        body |= server.logprobs(sampling.logprobs, chat=prompt.chat)
    if together and sampling.n > 1:
        # With their token ids, since usage is told of all replies together.
        body |= {"n": sampling.n, "return_token_ids": True}
    seeds = range(1 if together else sampling.n)
    if sampling.seed is None:
        return [body for _ in seeds]
    return [{**body, "seed": (sampling.seed + n) % server.seeds} for n in seeds]


def next_token(model: str, server: GenericServer, prompt: Rendered) -> Body:
    """Return the request that asks how likely tokens are as the next one.

    Args:
        model: The model's name on the server.
        server: The kind of server.
        prompt: The prompt.
    """
    shown = server.next_token(chat=prompt.chat)
    return {"model": model, **prompt.body, **shown, "max_tokens": 1, "temperature": 0.0}


def scoring(model: str, prompt: Rendered) -> Body:
    """Return the request that asks a vLLM server how likely each token of a prompt is."""
    asked = {"prompt_logprobs": 0, "max_tokens": 1, "temperature": 0.0}
    return {"model": model, **prompt.body, **asked}

"""Log-probabilities as servers write them.

There are two shapes: that of chat completions, `{"content": [{"token", "logprob", "bytes",
"top_logprobs": […]}, …]}`, which llama.cpp uses everywhere and with token ids; and the older one
of completions, `{"tokens": […], "token_logprobs": […], "top_logprobs": [{token: logprob}, …]}`.
vLLM writes tokens as 'token_id:N' in both when asked to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.core.generation import TokenLogprob
from rag.models.http.failures import Failure


@dataclass(frozen=True, slots=True)
class Shown:
    """A token that a server shows.

    Args:
        text: Its text; '' where the server gave its id instead.
        id: Its number, if the server told.
        logprob: Its natural-log probability.
    """

    text: str
    id: int | None
    logprob: float


@dataclass(frozen=True, slots=True)
class Step:
    """A place in a reply.

    Args:
        written: The token that was written there.
        likeliest: The tokens that were shown for it, likeliest first.
    """

    written: Shown
    likeliest: tuple[Shown, ...]

    def as_logprob(self, top: int) -> TokenLogprob:
        """Return the token with the `top` likeliest ones."""
        likeliest = {each.text: each.logprob for each in self.likeliest[:top]}
        return TokenLogprob(self.written.text, self.written.logprob, likeliest)


def steps(logprobs: Any) -> list[Step]:
    """Return what the 'logprobs' of a choice show, place by place.

    Raises:
        Failure: They have neither shape.
    """
    try:
        if not logprobs:
            return []
        if (content := logprobs.get("content")) is not None:
            return [_step(_of_chat(each), map(_of_chat, each["top_logprobs"])) for each in content]
        tokens = logprobs["tokens"]
        tops = logprobs.get("top_logprobs") or [{}] * len(tokens)
        return [
            _step(_shown(token, logprob), (_shown(*each) for each in (top or {}).items()))
            for token, logprob, top in zip(tokens, logprobs["token_logprobs"], tops, strict=True)
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Failure(f"the server's logprobs cannot be read: {error!r}") from error


def scored(prompt_logprobs: Any, ids: Sequence[int]) -> tuple[float, ...]:
    """Return the log-probabilities of the last tokens of a prompt, from vLLM's prompt_logprobs.

    Args:
        prompt_logprobs: For each token of the prompt an object from token id to `{"logprob"}`.
        ids: The last tokens.

    Raises:
        Failure: They have another shape.
    """
    try:
        last = prompt_logprobs[len(prompt_logprobs) - len(ids) :]
        places = zip(last, ids, strict=True)
        return tuple(_real(place[str(token)]["logprob"]) for place, token in places)
    except (KeyError, TypeError, ValueError) as error:
        raise Failure(f"the server's prompt_logprobs cannot be read: {error!r}") from error


def _step(written: Shown, likeliest: Any) -> Step:
    return Step(written, tuple(sorted(likeliest, key=lambda each: -each.logprob)))


def _of_chat(entry: Mapping[str, Any]) -> Shown:
    shown = _shown(entry["token"], entry["logprob"])
    encoded = entry.get("bytes")
    text = shown.text if encoded is None else bytes(encoded).decode(errors="replace")
    number = entry.get("id", shown.id)
    return Shown(text, number if isinstance(number, int) else None, shown.logprob)


def _shown(token: str, logprob: Any) -> Shown:
    kind, found, number = token.partition("token_id:")
    if found and not kind and number.isdecimal():
        return Shown("", int(number), _real(logprob))
    return Shown(token, None, _real(logprob))


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"{value!r} is no log-probability")
    return min(0.0, float(value))

"""Results out of servers' answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rag.core.generation import ContinuationScore, NextTokenScores, Reply, Sampling
from rag.models.http.failures import Failure
from rag.models.http.logprobs import Step, scored, steps
from rag.models.http.requests import Rendered
from rag.models.stops import GrowingText

Count = Callable[[str], int]
"""Tells, or estimates, the tokens of a text."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reply of an answer.

    Args:
        text: What was written.
        finish: Why it ended.
        steps: The log-probabilities of its tokens, if the server sent them.
        tokens: How many tokens it has, if the server says it of this reply alone.
    """

    text: str
    finish: Literal["stop", "length"]
    steps: list[Step]
    tokens: int | None


def samples(data: Mapping[str, Any]) -> list[Sample]:
    """Return the replies that an answer holds.

    Raises:
        Failure: It holds none, or one that did not end as a reply should.
    """
    if error := data.get("error"):
        said = error.get("message", error) if isinstance(error, dict) else error
        raise Failure(f"the server ended the reply with an error: {said}")
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Failure("the server's answer holds no reply ('choices' is missing or empty)")
    try:
        return [_sample(choice) for choice in choices]
    except (AttributeError, KeyError, TypeError) as error:
        raise Failure(f"the server's reply cannot be read: {error!r}") from error


def _sample(choice: Mapping[str, Any]) -> Sample:
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        raise Failure("the server's content filter stopped the reply")
    if finish not in ("stop", "length"):
        raise Failure(f"the reply ended with the finish reason {finish!r}, not 'stop' or 'length'")
    if not isinstance(text, str):
        raise Failure(f"the reply holds no text but {text!r}; did the model only think, or call?")
    ids = choice.get("token_ids")
    tokens = len(ids) if isinstance(ids, list) else None
    return Sample(text, finish, steps(choice.get("logprobs")), tokens)


def reply(
    answers: Sequence[Mapping[str, Any]], prompt: Rendered, sampling: Sampling, count: Count
) -> Reply:
    """Return the reply to a prompt, with the further ones that were drawn.

    What a server reports of its usage is passed on only where it can be true.

    Args:
        answers: What the server sent: one answer with all replies, or one answer for each.
        prompt: What it was given.
        sampling: What was asked for.
        count: Counts the tokens of a reply whose number the server does not tell.

    Raises:
        Failure: An answer is malformed, or is not what was asked for.
    """
    replies: list[Reply] = []
    for answer in answers:
        drawn = samples(answer)
        for sample in drawn:
            tokens = sample.tokens
            if tokens is None and len(drawn) == 1:
                tokens = _reported(answer, "completion_tokens")
            replies.append(_reply(sample, tokens, sampling, count))
    if len(replies) < sampling.n:
        raise Failure(f"the server sent {len(replies)} replies, not {sampling.n}")
    read = _read(answers[0], prompt)
    estimated = read["estimated_tokens"] + replies[0].estimated_tokens
    return replace(
        replies[0], **{**read, "estimated_tokens": estimated}, others=tuple(replies[1 : sampling.n])
    )


def _reply(sample: Sample, tokens: int | None, sampling: Sampling, count: Count) -> Reply:
    cut = GrowingText(() if sampling.choices else sampling.stop)
    cut.add(sample.text)
    text, finish = cut.text, "stop" if cut.stopped else sample.finish
    if sampling.choices and text in sampling.choices:
        finish = "stop"
    _check_form(text, finish, sampling)
    if sampling.logprobs is not None and text and not sample.steps:
        raise Failure("the server sent no logprobs, which were asked for")
    top = sampling.logprobs
    logprobs = () if top is None else tuple(each.as_logprob(top) for each in sample.steps)
    plausible = tokens is not None and bool(text) <= tokens <= sampling.max_tokens
    written = tokens if plausible and tokens else 0
    if not plausible:
        written = min(count(text), sampling.max_tokens)
    estimated = 0 if plausible else written
    return Reply(text, finish, logprobs, output_tokens=written, estimated_tokens=estimated)


def _check_form(text: str, finish: str, sampling: Sampling) -> None:
    """Refuse a reply that a server wrote as if it had not been told which form it has to have."""
    form = ""
    if sampling.choices and text not in sampling.choices:
        form = "one of the choices"
    elif sampling.starts_with and not text.startswith(sampling.starts_with):
        form = "begun as it has to"
    elif sampling.json_schema is not None and finish == "stop":
        try:
            json.loads(text)
        except ValueError:
            form = "JSON"
    if form:
        why = "max_tokens cut it short" if finish == "length" else "the server ignored its form"
        raise Failure(f"the reply is not {form}: {why}: {text[:60]!r}")


def next_token_scores(
    answer: Mapping[str, Any],
    prompt: Rendered,
    tokens: Sequence[str],
    ids: Sequence[int] | None,
) -> NextTokenScores:
    """Return how likely tokens are as the next one.

    Args:
        answer: What the server sent: one token with the likeliest ones in its place.
        prompt: What it was given.
        tokens: The tokens.
        ids: Their numbers, where known; servers that show no numbers are matched by text.

    Raises:
        Failure: The answer is malformed or shows no probabilities.
    """
    shown = [each for step in samples(answer)[0].steps[:1] for each in step.likeliest]
    if not shown:
        raise Failure("the server sent no logprobs of the next token")
    keys: Sequence[int | str] = tokens
    seen: dict[int | str | None, float] = {each.text: each.logprob for each in reversed(shown)}
    if ids is not None and shown[0].id is not None:
        keys = ids
        seen = {each.id: each.logprob for each in shown}
    found = {token: seen[key] for token, key in zip(tokens, keys, strict=True) if key in seen}
    missing = tuple(token for token in tokens if token not in found)
    lowest = shown[-1].logprob if missing else 0.0
    written = min(_reported(answer, "completion_tokens") or 0, 1)
    return NextTokenScores(
        found, missing, lowest, output_tokens=max(written, 0), **_read(answer, prompt)
    )


def continuation_score(
    answer: Mapping[str, Any], prompt: Rendered, continuation: Sequence[int]
) -> ContinuationScore:
    """Return how likely the last tokens of a prompt are.

    Args:
        answer: What a vLLM server sent, with the prompt's log-probabilities.
        prompt: What it was given, continuation included.
        continuation: The last tokens of the prompt.

    Raises:
        Failure: The answer is malformed.
    """
    samples(answer)
    return ContinuationScore(
        scored(answer["choices"][0].get("prompt_logprobs"), continuation), **_read(answer, prompt)
    )


def _read(answer: Mapping[str, Any], prompt: Rendered) -> dict[str, Any]:
    """Return what was read: our own count, else the server's where it can be true."""
    reported = _reported(answer, "prompt_tokens") or 0
    known = prompt.exact or reported <= 0
    tokens = prompt.tokens if known else reported
    cached = _cached(answer)
    return {
        "input_tokens": tokens,
        "cached_tokens": cached if 0 <= cached <= tokens else 0,
        "estimated_tokens": tokens if known and not prompt.exact else 0,
    }


def _reported(answer: Mapping[str, Any], name: str) -> int | None:
    return _whole(answer.get("usage"), name)


def _cached(answer: Mapping[str, Any]) -> int:
    usage = answer.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    reported = _whole(details, "cached_tokens")
    llama_cpp = _whole(answer.get("timings"), "cache_n")
    return reported or llama_cpp or 0


def _whole(fields: Any, name: str) -> int | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None

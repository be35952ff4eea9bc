"""What is asked of vLLM, and what its answers mean: plain data on both sides."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from rag.core.errors import ModelError
from rag.core.generation import (
    ContinuationScore,
    NextTokenScores,
    Reply,
    Sampling,
    TokenLogprob,
)

TextOf = Callable[[int], str]

# What means something in the regular expressions of every grammar library.
_META = re.compile(r"[\\.^$|?*+()\[\]{}]")


def sampling_options(sampling: Sampling) -> dict[str, Any]:
    """Return a sampling as arguments of vLLM's `SamplingParams`.

    What a reply has to look like is under 'structure', as arguments of `StructuredOutputsParams`.
    Grammars allow every spelling of a choice and end with a token of their own, so a choice gets
    room for its longest spelling, a token a byte.
    """
    options: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "n": sampling.n,
        "logprobs": sampling.logprobs,
        "stop": list(sampling.stop),
    }
    if sampling.choices:
        longest = max(len(choice.encode("utf-8", "replace")) for choice in sampling.choices)
        options["max_tokens"] = max(sampling.max_tokens, longest + 1)
        options["stop"] = []
        options["structure"] = {"choice": list(dict.fromkeys(sampling.choices))}
    elif sampling.starts_with:
        starts = "|".join(_META.sub(r"\\\g<0>", start) for start in sampling.starts_with)
        options["structure"] = {"regex": rf"({starts})[\s\S]*"}
    elif sampling.json_schema is not None:
        options["structure"] = {"json": sampling.json_schema}
    return options


def reading_options(**logprobs: Any) -> dict[str, Any]:
    """Return arguments of `SamplingParams` for reading: vLLM writes one token, which is ignored.

    Args:
        logprobs: Which log-probabilities to report.
    """
    return {"max_tokens": 1, "temperature": 0.0, "detokenize": False, **logprobs}


def reply(answer: Any, samples: Sequence[Any], top: int | None, text_of: TextOf) -> Reply:
    """Return the reply that a finished request wrote.

    Args:
        answer: vLLM's `RequestOutput`.
        samples: The `CompletionOutput` of each sample, in order.
        top: Likeliest tokens to report a place; None reports no log-probabilities.
        text_of: Gives the text of a token.

    Raises:
        ModelError: vLLM gave up on the request.
    """
    first, *others = (_sample(each, top, text_of) for each in samples)
    return replace(
        first,
        input_tokens=len(answer.prompt_token_ids),
        cached_tokens=answer.num_cached_tokens or 0,
        others=tuple(others),
    )


def _sample(sample: Any, top: int | None, text_of: TextOf) -> Reply:
    finish: Literal["stop", "length"]
    if sample.finish_reason not in ("stop", "length"):
        raise ModelError(f"vLLM ended a request with '{sample.finish_reason}'")
    finish = "length" if sample.finish_reason == "length" else "stop"
    logprobs: tuple[TokenLogprob, ...] = ()
    if top is not None:
        logprobs = tuple(
            _token(token, seen, top, text_of)
            for token, seen in zip(sample.token_ids, sample.logprobs, strict=True)
        )
    return Reply(sample.text, finish, logprobs, output_tokens=len(sample.token_ids))


def _token(token: int, seen: Mapping[int, Any], top: int, text_of: TextOf) -> TokenLogprob:
    # `seen` holds the likeliest tokens and, likely or not, the one that was written.
    likeliest = sorted(seen, key=lambda each: -seen[each].logprob)[:top]
    return TokenLogprob(
        text_of(token),
        seen[token].logprob,
        {text_of(each): seen[each].logprob for each in likeliest},
    )


def continuation_score(answer: Any, tokens: int) -> ContinuationScore:
    """Return the score of the last `tokens` tokens that a request read."""
    ids = answer.prompt_token_ids
    places = range(len(ids) - tokens, len(ids))
    return ContinuationScore(
        tuple(answer.prompt_logprobs[place][ids[place]].logprob for place in places),
        input_tokens=len(ids),
        cached_tokens=answer.num_cached_tokens or 0,
    )


def next_token_scores(answer: Any, wanted: Mapping[str, int]) -> NextTokenScores:
    """Return the scores of the tokens `wanted`, by their texts, of which vLLM shows some."""
    (seen,) = answer.outputs[0].logprobs
    missing = tuple(text for text, token in wanted.items() if token not in seen)
    return NextTokenScores(
        {text: seen[token].logprob for text, token in wanted.items() if token in seen},
        missing,
        min(each.logprob for each in seen.values()) if missing else 0.0,
        input_tokens=len(answer.prompt_token_ids),
        cached_tokens=answer.num_cached_tokens or 0,
    )

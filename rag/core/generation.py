"""What language models are given and what they return."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rag.core.errors import InputError
from rag.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt whose contexts stay apart from the text around them until a backend renders it.

    Args:
        question: The text of the request; in the user's turn it comes after the contexts.
        system: The system message; '' for none.
        contexts: Documents or worked examples, in order, as text.
        reply_prefix: What the model's reply begins with; the model continues after it.
    """

    question: str
    system: str = ""
    contexts: tuple[str, ...] = ()
    reply_prefix: str = ""

    @property
    def user(self) -> str:
        """The user's turn as one string: contexts and question, a blank line between them."""
        return "\n\n".join((*self.contexts, self.question))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate.

    Args:
        max_tokens: New tokens of a reply at most.
        temperature: 0 is greedy.
        top_p: Nucleus size, above 0, at most 1.
        stop: Strings that end the reply; they are not part of it.
        seed: Makes sampling repeatable, at least 0; needs no temperature of 0.
        n: Replies to draw for each prompt, which is read once; more than 1 need a temperature.
        choices: If not empty, the reply is exactly one of these strings.
        starts_with: If not empty, the reply begins with one of these strings and goes on freely.
        json_schema: A JSON schema that the reply follows, as a mapping or as JSON text; kept as
            text. A reply that `max_tokens` cuts short does not parse.
        logprobs: Report the log-probability of each token written and of this many of the
            likeliest tokens in its place; None reports none.

    Raises:
        InputError: A value is out of its range, a stop string is empty, the schema is no JSON
            object, or more than one of choices, starts_with and json_schema are given.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    choices: tuple[str, ...] = ()
    starts_with: tuple[str, ...] = ()
    json_schema: str | Mapping[str, Any] | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that no backend can follow."""
        if self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not self.temperature >= 0:
            raise InputError(f"temperature is {self.temperature}; it must be at least 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.seed is not None and self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be at least 0")
        if "" in self.stop:
            raise InputError("an empty stop string would end every reply at once")
        if self.n < 1:
            raise InputError(f"n is {self.n}; it must be at least 1")
        if self.n > 1 and self.temperature == 0:
            raise InputError(f"{self.n} greedy replies would be the same; give a temperature")
        if self.logprobs is not None and self.logprobs < 0:
            raise InputError(f"logprobs is {self.logprobs}; it must be at least 0")
        if "" in self.starts_with:
            raise InputError("every reply begins with ''; leave starts_with empty")
        forms = (self.choices, self.starts_with, self.json_schema is not None)
        if sum(map(bool, forms)) > 1:
            raise InputError("give one of choices, starts_with and json_schema")
        if self.json_schema is not None:
            # Text, so that a Sampling can be compared and hashed; in one spelling.
            object.__setattr__(self, "json_schema", _canonical(self.json_schema))

    @property
    def schema(self) -> Any:
        """The JSON schema as Python objects; None without one."""
        return None if self.json_schema is None else json.loads(str(self.json_schema))

    @property
    def deterministic(self) -> bool:
        """Whether the same prompt gets the same reply again."""
        return self.temperature == 0 or self.seed is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What every result of a language model says about the call.

    Args:
        input_tokens: Tokens of the prompt, and of the continuation where one is scored.
        cached_tokens: Those of them that were not computed again.
        output_tokens: Tokens generated.
        estimated_tokens: Those of input and output that were estimated, not counted.
        retries: Times that the call was made again after a failure.
        from_cache: Whether the result was computed earlier and kept.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    estimated_tokens: int = 0
    retries: int = 0
    from_cache: bool = False

    @property
    def usage(self) -> Usage:
        """What the call used, without seconds and money."""
        return Usage(
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            calls=1,
            estimated_tokens=self.estimated_tokens,
            retries=self.retries,
            cache_hits=int(self.from_cache),
        )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was where a model wrote it.

    Args:
        token: Its text; tokens that hold a part of a character read as U+FFFD.
        logprob: Natural-log probability over the whole vocabulary, before temperature, top_p and
            constraints.
        top: The likeliest tokens in its place with theirs, likeliest first.
    """

    token: str
    logprob: float
    top: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply(ModelCall):
    """What a model wrote.

    Args:
        text: The new text, without the prompt's `reply_prefix`.
        finish: Why it ended: end of turn or stop string, or the limit of new tokens.
        logprobs: One entry a token written, if `Sampling.logprobs` asked for them.
        others: The further replies of `Sampling.n`. They share this one's input; each counts the
            tokens of its own text.
    """

    text: str
    finish: Literal["stop", "length"] = "stop"
    logprobs: tuple[TokenLogprob, ...] = ()
    others: tuple[Reply, ...] = ()

    @property
    def samples(self) -> tuple[Reply, ...]:
        """All replies that were drawn, this one first."""
        return (self, *self.others)

    @property
    def usage(self) -> Usage:
        """What the call used, without seconds and money; output tokens are those of all samples."""
        own = super(Reply, self).usage  # the short form fails where a dataclass has slots
        more = sum(each.output_tokens for each in self.others)
        return replace(own, output_tokens=self.output_tokens + more)


@dataclass(frozen=True, slots=True)
class ContinuationScore(ModelCall):
    """How likely a model finds a continuation of a prompt.

    Args:
        token_logprobs: Natural-log probability of each token of the continuation.
    """

    token_logprobs: tuple[float, ...]

    @property
    def logprob(self) -> float:
        """Natural-log probability of the whole continuation."""
        return sum(self.token_logprobs)


@dataclass(frozen=True, slots=True)
class NextTokenScores(ModelCall):
    """How likely a model finds each of some tokens as the next one.

    Args:
        logprobs: Natural-log probability, over the whole vocabulary, of each token asked for that
            the backend can see. Servers show only the likeliest few.
        missing: The tokens asked for that it cannot see.
        missing_at_most: The highest log-probability that one of those can have.
    """

    logprobs: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    missing_at_most: float = 0.0


def _canonical(schema: str | Mapping[str, Any]) -> str:
    try:
        parsed = json.loads(schema) if isinstance(schema, str) else dict(schema)
        # In the order in which its properties are stated: in that order they are written.
        text = json.dumps(parsed, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"json_schema is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise InputError(f"json_schema is not a JSON object: {text}")
    return text

"""What language models are given and what they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
        max_tokens: New tokens at most.
        temperature: 0 is greedy.
        top_p: Nucleus size, above 0, at most 1.
        stop: Strings that end the reply; they are not part of it.
        seed: Makes sampling repeatable, at least 0; needs no temperature of 0.
        choices: If not empty, the reply is exactly one of these strings.

    Raises:
        InputError: A value is out of its range, or a stop string is empty.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    choices: tuple[str, ...] = ()

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


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote.

    Args:
        text: The new text, without the prompt's `reply_prefix`.
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens generated.
        cached_tokens: Tokens of the prompt that were not computed again.
        finish: Why it ended: end of turn or stop string, or the limit of new tokens.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    finish: Literal["stop", "length"] = "stop"

    @property
    def usage(self) -> Usage:
        """Return what the call used, without seconds and money."""
        return Usage(self.input_tokens, self.cached_tokens, self.output_tokens, calls=1)


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """How likely a model finds a continuation of a prompt.

    Args:
        token_logprobs: Natural-log probability of each token of the continuation.
        input_tokens: Tokens of prompt and continuation.
        cached_tokens: Those of them that were not computed again.
    """

    token_logprobs: tuple[float, ...]
    input_tokens: int = 0
    cached_tokens: int = 0

    @property
    def logprob(self) -> float:
        """Natural-log probability of the whole continuation."""
        return sum(self.token_logprobs)

    @property
    def usage(self) -> Usage:
        """Return what the call used, without seconds and money."""
        return Usage(self.input_tokens, self.cached_tokens, calls=1)


@dataclass(frozen=True, slots=True)
class NextTokenScores:
    """How likely a model finds each of some tokens as the next one.

    Args:
        logprobs: Natural-log probability of each token asked for, over the whole vocabulary.
        input_tokens: Tokens of the prompt.
        cached_tokens: Those of them that were not computed again.
    """

    logprobs: Mapping[str, float] = field(default_factory=dict)
    input_tokens: int = 0
    cached_tokens: int = 0

    @property
    def usage(self) -> Usage:
        """Return what the call used, without seconds and money."""
        return Usage(self.input_tokens, self.cached_tokens, calls=1)

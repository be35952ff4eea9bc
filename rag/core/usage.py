"""What a piece of work used."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, calls, seconds and money; adds up with `+`.

    Args:
        input_tokens: Tokens of all prompts, as a plain sequential run would read them.
        cached_tokens: Those of them that were not computed again.
        output_tokens: Tokens generated.
        calls: Calls of a language model.
        searches: Calls of a retriever.
        seconds: Time of backends; a batch's time is divided evenly among its items.
        cost: Money, in the currency of the backend's prices; 0.0 where it has none.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    searches: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """Return the sum, field by field."""
        return Usage(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(Usage))
        )

    @property
    def effective_context_length(self) -> int:
        """Input tokens over all calls of a question (arXiv 2410.04343, section 3.1)."""
        return self.input_tokens

    @property
    def computed_tokens(self) -> int:
        """Input tokens that a model really read."""
        return self.input_tokens - self.cached_tokens


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a backend, per million tokens, in one currency of your choice.

    Args:
        input: Price of a million input tokens.
        output: Price of a million output tokens.
        cached: Price of a million cached input tokens; None means the price of input.
    """

    input: float
    output: float
    cached: float | None = None

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return the price of one call."""
        cached = self.input if self.cached is None else self.cached
        read = (input_tokens - cached_tokens) * self.input + cached_tokens * cached
        return (read + output_tokens * self.output) / 1e6

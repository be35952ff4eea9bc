"""What a piece of work used."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, fields

from rag.core.errors import InputError

_UNLIMITED = 1 << 40
"""Tokens of a call that no limit is put on any more."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, calls, seconds and money; adds up with `+`.

    Args:
        input_tokens: Tokens of all prompts, as a plain sequential run would read them.
        cached_tokens: Those of them that were not computed again.
        output_tokens: Tokens generated.
        calls: Calls of a language model.
        searches: Calls of a retriever or of a web search engine.
        seconds: Time of backends; a batch's time is divided evenly among its items.
        cost: Money, in the currency of the backend's prices; 0.0 where it has none.
        estimated_tokens: Those of input and output that a backend estimated, unable to count.
        retries: Calls that were made again after a failure.
        cache_hits: Calls that a cache of replies answered; all their input counts as cached.
        fetches: Pages fetched from the web, those that a cache had included.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    searches: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    estimated_tokens: int = 0
    retries: int = 0
    cache_hits: int = 0
    fetches: int = 0

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

    def tokens_within(self, cost: float, output_tokens: int, calls: int = 1) -> int | None:
        """Return the most input tokens, over all calls, that some money buys.

        Args:
            cost: The money, in the currency of the prices.
            output_tokens: Tokens that each call writes.
            calls: Calls that share the money evenly, each reading as much as the others.

        Returns:
            Tokens, none of them counted as cached; 0 if the calls alone cost more; None if input
            is free and the calls are affordable.
        """
        return most_tokens(cost, lambda tokens: self.cost(tokens, output_tokens), calls)


def most_tokens(limit: float, price: Callable[[int], float], calls: int) -> int | None:
    """Return the most input tokens over all calls that a limit allows.

    Args:
        limit: What all calls together may take: seconds or money.
        price: What a call with so many input tokens takes of it; never falls as they grow.
        calls: Calls that share the limit evenly.

    Returns:
        Tokens; 0 if the limit is too low even for empty calls; None if tokens take nothing of it.

    Raises:
        InputError: There is less than one call.
    """
    if calls < 1:
        raise InputError(f"{calls} calls share a limit; there must be at least 1")
    affordable = bisect_right(range(_UNLIMITED), limit / calls, key=price)
    return None if affordable == _UNLIMITED else calls * max(0, affordable - 1)

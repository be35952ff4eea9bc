"""Budgets, and the meters that hold programs to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from rag.core.errors import BudgetExhausted, InputError
from rag.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Budget:
    """What a question, or a part of one, may use; None means no limit.

    Args:
        tokens: Input tokens over all calls: the effective context length of arXiv 2410.04343.
        calls: Calls of a language model.
        seconds: Time from the start; no call begins after it, and one that began is not cut.
        cost: Money, in the currency of the backend's prices.
    """

    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits below zero."""
        for each in fields(self):
            limit = getattr(self, each.name)
            if limit is not None and not limit >= 0:
                raise InputError(f"a budget of {limit} {each.name} is not at least 0")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of all budgets a program is under; None means no limit.

    Args:
        tokens: Input tokens left.
        calls: Calls left.
        seconds: Time left.
        cost: Money left.
        context_window: Tokens of prompt and reply that the engine's model reads at once.
    """

    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None
    cost: float | None = None
    context_window: int | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call under way was promised.

    Args:
        tokens: Input tokens.
        calls: Calls of a language model.
        cost: Money at most.
    """

    tokens: int = 0
    calls: int = 0
    cost: float = 0.0


@dataclass(slots=True)
class Meter:
    """Counts what a program uses, and refuses what its budget or an outer one does not allow.

    Args:
        budget: The limits.
        parent: The meter around this one; whatever is counted here is counted there too.
        clock: Seconds, from any start.
    """

    budget: Budget = Budget()
    parent: Meter | None = None
    clock: Callable[[], float] = time.monotonic
    used: Usage = Usage()
    stages: dict[str, Usage] = field(default_factory=dict)
    started: float = field(init=False)
    _tokens_promised: int = 0
    _calls_promised: int = 0
    _cost_promised: float = 0.0

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started = self.clock()

    @property
    def counts_tokens(self) -> bool:
        """Whether a limit of this meter or an outer one needs the tokens of a call beforehand."""
        own = self.budget.tokens is not None or self.budget.cost is not None
        return own or (self.parent is not None and self.parent.counts_tokens)

    def reserve(self, request: Reservation, stage: str) -> None:
        """Promise what a call needs, here and in every outer meter, or in none.

        Raises:
            BudgetExhausted: A limit would be overrun; nothing is promised.
        """
        chain = self._chain()
        for meter in chain:
            meter._check(request, stage)
        for meter in chain:
            meter._promise(request, 1)

    def settle(self, request: Reservation, usage: Usage, stage: str) -> None:
        """Replace a promise by what the call really used."""
        for meter in self._chain():
            meter._promise(request, -1)
            meter.used += usage
            meter.stages[stage] = meter.stages.get(stage, Usage()) + usage

    def allowance(self, context_window: int | None = None) -> Allowance:
        """Return what is left, the least over this meter and the outer ones."""
        tightest: dict[str, float | None] = {}
        for meter in self._chain():
            for kind, limit, used in meter._limits():
                left = max(0, limit - used)
                known = tightest.get(kind)
                tightest[kind] = left if known is None else min(known, left)
        return Allowance(**tightest, context_window=context_window)  # type: ignore[arg-type] # kinds are the fields

    def _chain(self) -> list[Meter]:
        return [self, *(self.parent._chain() if self.parent else [])]

    def _limits(self) -> list[tuple[str, float, float]]:
        used = {
            "tokens": self.used.input_tokens + self._tokens_promised,
            "calls": self.used.calls + self._calls_promised,
            "seconds": self.clock() - self.started,
            "cost": self.used.cost + self._cost_promised,
        }
        limits = {kind: getattr(self.budget, kind) for kind in used}
        return [(kind, limits[kind], used[kind]) for kind in used if limits[kind] is not None]

    def _check(self, request: Reservation, stage: str) -> None:
        for kind, limit, used in self._limits():
            if kind == "seconds":
                # How long a call takes is not known before; so only a late start is refused.
                refused, requested = used >= limit, 0.0
            else:
                requested = getattr(request, kind)
                refused = requested > 0 and used + requested > limit
            if refused:
                raise BudgetExhausted(kind, limit, used, requested, stage)

    def _promise(self, request: Reservation, sign: int) -> None:
        self._tokens_promised += sign * request.tokens
        self._calls_promised += sign * request.calls
        self._cost_promised += sign * request.cost

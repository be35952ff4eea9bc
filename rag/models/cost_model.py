"""How long calls of a model take, as a function of their tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.usage import Prices, most_tokens


@dataclass(frozen=True, slots=True)
class TimedCall:
    """A call that was timed.

    Args:
        input_tokens: Tokens of the prompt.
        cached_tokens: Those of them that were not computed again.
        output_tokens: Tokens generated.
        seconds: Time that it took.
    """

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Origin:
    """What a cost model was fitted on.

    Args:
        model: The model's name.
        revision: Its revision.
        backend: The class that ran it.
        machine: Processor, cores and accelerator that it was timed on.
        date: The day, as YYYY-MM-DD.
        calls: Timed calls that it was fitted to.
        held_out_calls: Further calls, which the errors are those of.
        median_error: Median of |predicted - measured| / measured.
        p90_error: Its 90th percentile.
    """

    model: str
    revision: str
    backend: str
    machine: str
    date: str
    calls: int
    held_out_calls: int
    median_error: float
    p90_error: float


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds of a call as a sum of what its tokens take.

    After the idealised runtime of arXiv 2305.02440, section 3: a time for the prompt, a constant
    time for each output token but the first, which the pass over the prompt gives, and an overhead.
    Two things are added. Prompt tokens that the backend has kept from before have a price of their
    own; without it, repeated prompts make a model look faster than it is. And attention makes a
    token dearer the more tokens come before it; without it, a fit to short prompts promises too
    much for long ones.

    Completions are assumed to run one at a time: calls that share a batch or a server take longer
    each, and less together, than this says. All coefficients are at least 0.

    Args:
        overhead: Seconds of any call.
        computed: Seconds of a prompt token that is computed.
        attention: Seconds of a prompt token that is computed, for each token before it.
        cached: Seconds of a cached prompt token.
        output: Seconds of an output token after the first.
        output_attention: The same for each token before it.
        origin: What it was fitted on; None if it was not fitted.
    """

    overhead: float = 0.0
    computed: float = 0.0
    attention: float = 0.0
    cached: float = 0.0
    output: float = 0.0
    output_attention: float = 0.0
    origin: Origin | None = None

    @classmethod
    def fit(cls, calls: Sequence[TimedCall]) -> CostModel:
        """Fit a model by least squares of the relative errors, no coefficient below 0.

        A term that is 0 in all calls, or explains nothing in them, gets the coefficient 0.

        Raises:
            InputError: There are no calls, or one took no time.
            MissingExtra: The extra `analysis` is not installed.
        """
        import numpy as np

        optimize = require("scipy.optimize", extra="analysis", needed_for="fitting a cost model")
        if not calls or any(each.seconds <= 0 for each in calls):
            raise InputError("a cost model is fitted to calls that each took some time")
        rows = [_terms(each.input_tokens, each.output_tokens, each.cached_tokens) for each in calls]
        relative = np.array(rows) / np.array([[each.seconds] for each in calls])
        # The terms are of very different size, which a least-squares solver does not like.
        scale = np.linalg.norm(relative, axis=0)
        scale[scale == 0] = 1
        solution, _ = optimize.nnls(relative / scale, np.ones(len(calls)))
        return cls(*(solution / scale).tolist())

    def predict(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """Return the seconds of a call.

        Args:
            input_tokens: Tokens of the prompt.
            output_tokens: Tokens that it writes.
            cached_tokens: Tokens of the prompt that the backend has kept from before.
        """
        terms = _terms(input_tokens, output_tokens, cached_tokens)
        return sum(c * term for c, term in zip(self._coefficients, terms, strict=True))

    def relative_error(self, call: TimedCall) -> float:
        """Return |predicted - measured| / measured of a call's seconds."""
        predicted = self.predict(call.input_tokens, call.output_tokens, call.cached_tokens)
        return abs(predicted - call.seconds) / call.seconds

    def tokens_within(self, seconds: float, output_tokens: int, calls: int = 1) -> int | None:
        """Return the most input tokens, over all calls, that are read and answered in some time.

        Args:
            seconds: The time for all calls, one after the other.
            output_tokens: Tokens that each call writes.
            calls: Calls that share the time evenly, each reading as much as the others.

        Returns:
            Tokens, none of them cached; 0 if even empty calls take longer; None if the fit found
            no time that prompts take.
        """
        return most_tokens(seconds, lambda tokens: self.predict(tokens, output_tokens), calls)

    def save(self, path: Path) -> None:
        """Write the model as JSON; its folder is made if it is not there.

        Raises:
            InputError: The file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error}; name another file") from error

    @classmethod
    def load(cls, path: Path) -> CostModel:
        """Read a model that `save` wrote.

        Raises:
            InputError: The file cannot be read, or holds no cost model.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            origin = fields.pop("origin")
            model = cls(**fields, origin=None if origin is None else Origin(**origin))
            usable = all(0 <= each < float("inf") for each in model._coefficients)
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no cost model: {error!r}; {_NEXT_STEP}") from error
        if not usable:
            raise InputError(f"{path} is no cost model: a coefficient is below 0; {_NEXT_STEP}")
        return model

    @property
    def _coefficients(self) -> tuple[float, ...]:
        return (
            self.overhead,
            self.computed,
            self.attention,
            self.cached,
            self.output,
            self.output_attention,
        )


_NEXT_STEP = "`rag models calibrate` makes one"


def budget_in_tokens(
    budget: Budget,
    *,
    output_tokens: int,
    calls: int = 1,
    cost_model: CostModel | None = None,
    prices: Prices | None = None,
) -> Budget:
    """Return a budget whose seconds and money also limit its tokens; the tightest limit holds.

    By itself a limit of seconds only refuses calls that begin too late. As tokens it makes a
    program read no more than is answered in time. Nothing of the seconds is set aside for what is
    not a call of the model, such as searching.

    Args:
        budget: The budget; its limits stay as they are, but for the tokens.
        output_tokens: Tokens that each call writes at most.
        calls: Calls that the program makes.
        cost_model: What calls take; without it seconds do not become tokens.
        prices: What calls cost; without them money does not become tokens.

    Returns:
        The budget; its tokens are 0 if nothing can be read in time or for the money.
    """
    limits = [budget.tokens]
    if budget.seconds is not None and cost_model is not None:
        limits.append(cost_model.tokens_within(budget.seconds, output_tokens, calls))
    if budget.cost is not None and prices is not None:
        limits.append(prices.tokens_within(budget.cost, output_tokens, calls))
    known = [limit for limit in limits if limit is not None]
    return replace(budget, tokens=min(known, default=None))


def _terms(input_tokens: int, output_tokens: int, cached_tokens: int) -> tuple[float, ...]:
    """Return what the coefficients are multiplied with, in their order."""
    computed = input_tokens - cached_tokens
    steps = max(0, output_tokens - 1)
    return (
        1,
        computed,
        computed * (cached_tokens + computed / 2),
        cached_tokens,
        steps,
        steps * (input_tokens + output_tokens / 2),
    )

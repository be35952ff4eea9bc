"""Times calls of a model and fits a cost model to them."""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import product
from pathlib import Path

from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.generation import Prompt, Sampling
from rag.core.progress import Progress, silent
from rag.core.protocols import LLM
from rag.models.cache import cache_dir
from rag.models.cost_model import CostModel, Origin, TimedCall
from rag.models.machine import machine

OUTPUT_TOKENS = (1, 8, 32)
"""Lengths of the replies that are timed; a model may end some of them sooner."""

_REPEATED = (0.5, 0.98)
"""Shares of a prompt that the one after it begins with."""
_LENGTHS = 5
_SHORTEST = 32
_ROUNDS = 10
_FEWEST = 12
_WORDS = (
    "river stone window garden paper winter music bridge yellow market island doctor silver "
    "morning kitchen forest letter summer engine village mirror ocean pocket ladder basket "
    "candle valley orange hammer pencil castle rabbit copper thunder blanket harbor"
).split()


@dataclass(frozen=True, slots=True)
class Calibration:
    """A cost model and the calls that it comes from.

    Args:
        model: The model; its `origin` has the errors on the calls held out.
        fitted: The calls that it was fitted to.
        held_out: The calls that it has not seen.
    """

    model: CostModel
    fitted: tuple[TimedCall, ...]
    held_out: tuple[TimedCall, ...]


def calibrate(
    llm: LLM,
    *,
    seconds: float = 60.0,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = silent,
) -> Calibration:
    """Time calls of a model, one at a time, and fit a cost model to two thirds of them.

    Prompts are nonsense of all lengths up to the window, or up to what takes a fortieth of the
    time; replies have up to 32 tokens. Every other prompt begins as the one before it, so that a
    backend that keeps prompts shows what that saves. Lengths come in random order, several times
    if there is time for it. What counts are the tokens that the replies report.

    Args:
        llm: The model.
        seconds: How long to time calls; those under way at the end are waited for.
        seed: Decides on order, words, and the calls held out.
        clock: Seconds, from any start.
        progress: Told how many of the seconds are over.

    Raises:
        InputError: Too few calls were made in that time.
        MissingExtra: The extra `analysis` is not installed.
    """
    require("scipy", extra="analysis", needed_for="fitting a cost model")  # before time is spent
    rng = random.Random(seed)  # noqa: S311 # nothing secret is drawn
    trials = _Trials(llm, rng, clock)
    calls: list[TimedCall] = []
    ends = clock() + seconds
    for call in trials.calls(trials.longest(seconds / 40)):
        calls.append(call)
        left = ends - clock()
        progress("seconds", int(seconds - max(0, left)), int(seconds))
        if left <= 0:
            break
    if len(calls) < _FEWEST:
        raise InputError(
            f"{llm.name} made {len(calls)} calls in {seconds:g} seconds, too few to fit "
            "anything to; give it more seconds"
        )
    rng.shuffle(calls)
    return _fitted(llm, calls)


def _fitted(llm: LLM, calls: Sequence[TimedCall]) -> Calibration:
    """Fit a model to the last two thirds of some calls and try it on the others."""
    third = len(calls) // 3
    held_out, fitted = calls[:third], calls[third:]
    model = CostModel.fit(fitted)
    errors = sorted(map(model.relative_error, held_out))
    origin = Origin(
        model=llm.name,
        revision=llm.revision,
        backend=type(llm).__name__,
        machine=machine(),
        date=date.today().isoformat(),
        calls=len(fitted),
        held_out_calls=len(held_out),
        median_error=statistics.median(errors),
        p90_error=statistics.quantiles(errors, n=10, method="inclusive")[-1],
    )
    return Calibration(replace(model, origin=origin), tuple(fitted), tuple(held_out))


def cost_model_path(llm: LLM) -> Path:
    """Return where the cost model of a model on this machine is kept."""
    what = "\n".join((llm.name, llm.revision, type(llm).__name__, machine()))
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    legible = re.sub(r"[^\w.-]+", "-", llm.name)
    return cache_dir() / "costs" / f"{legible}-{digest}.json"


def kept_cost_model(llm: LLM) -> CostModel | None:
    """Return the kept cost model of a model on this machine; None if it was not calibrated.

    Raises:
        InputError: The file of the cost model cannot be read.
    """
    path = cost_model_path(llm)
    return CostModel.load(path) if path.exists() else None


class _Trials:
    """Makes calls and times them."""

    def __init__(self, llm: LLM, rng: random.Random, clock: Callable[[], float]) -> None:
        self._llm = llm
        self._rng = rng
        self._clock = clock
        words = self._words(100)
        one, all_of_them = llm.count_tokens([Prompt(words[0]), Prompt(" ".join(words))])
        self._tokens_a_word = (all_of_them - one) / (len(words) - 1)

    def longest(self, seconds: float) -> int:
        """Return the tokens of the longest prompt to time; the search warms the backend up.

        Args:
            seconds: A prompt that takes longer is long enough.
        """
        # Room for the reply, and for what a server counts in other ways.
        limit = int(0.9 * self._llm.context_window) - max(OUTPUT_TOKENS)
        length = _SHORTEST
        self._time(self._text(length), max(OUTPUT_TOKENS))
        while length < limit and self._time(self._text(length), 1).seconds <= seconds:
            length = min(2 * length, limit)
        return length

    def calls(self, longest: int) -> Iterator[TimedCall]:
        """Yield timed calls, in pairs that begin alike.

        Args:
            longest: Tokens of the longest prompt.
        """
        step = (longest / _SHORTEST) ** (1 / (_LENGTHS - 1))
        lengths = [round(_SHORTEST * step**power) for power in range(_LENGTHS)]
        cells = list(product(lengths, OUTPUT_TOKENS, _REPEATED))
        for _ in range(_ROUNDS):
            for length, output, share in self._rng.sample(cells, len(cells)):
                text = self._text(length)
                yield self._time(text, output)
                kept = text[: int(share * len(text))]
                yield self._time(kept + self._words(len(text) - len(kept)), output)

    def _time(self, words: list[str], output: int) -> TimedCall:
        prompt = Prompt(" ".join(words))
        began = self._clock()
        (reply,) = self._llm.generate([prompt], Sampling(max_tokens=output))
        seconds = self._clock() - began
        return TimedCall(reply.input_tokens, reply.cached_tokens, reply.output_tokens, seconds)

    def _text(self, tokens: int) -> list[str]:
        """Return words of about so many tokens that no prompt before began with."""
        return [secrets.token_hex(4), *self._words(int(tokens / self._tokens_a_word))]

    def _words(self, count: int) -> list[str]:
        return self._rng.choices(_WORDS, k=count)

"""Finds settings of parallel encoding for a model, and measures what they cost it.

Quality is how likely the model finds right answers. This changes with every change of attention,
where the words that it writes do not, so that a few dozen questions tell settings apart. The mean
is that of probabilities, not of their logarithms: these are ruled by questions that the model
cannot answer in either way, with a probability of 0.0001 in one and 0.001 in the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from statistics import fmean
from typing import Any

import numpy as np

from rag.context.calibration import Calibration, Measurement, Share, Trial
from rag.context.calibration_examples import Example, load_examples
from rag.context.parallel_llm import ParallelLLM
from rag.context.settings import ApeSettings
from rag.context.store import ContextStore
from rag.core.errors import InputError
from rag.core.progress import Progress, silent
from rag.core.protocols import LLM
from rag.models.transformers_llm import TransformersLLM

GRID = tuple(tenths / 10 for tenths in range(10, 0, -1))
"""Temperatures and scales that are tried, in this order."""

_ROUNDS = 3
_ANSWERS = 3
_FEWEST = 8
_SAMPLES = 10_000

# Quality has one peak along each of the two, so worse values in a row end a line of the search.
_WORSE = 2


def calibrate(
    llm: TransformersLLM,
    *,
    store: ContextStore | None = None,
    examples: Sequence[Example] | None = None,
    sequential: Sequence[int] = (1, 2, 3),
    minimum_share: float = 0.95,
    progress: Progress = silent,
) -> Calibration:
    """Find the temperature and scale that suit a model, and measure what they cost in quality.

    The search is the greedy one of APE (arXiv 2502.05431, section 4): the best temperature, then
    the best scale for it, then again until nothing changes. It is made over all questions, and for
    the measurement over each half of them alone: what is reported, and decides, is what either
    half loses at the settings that the other one chose.

    Contexts are encoded once, so that a setting costs what reading the questions and answers costs.

    Args:
        llm: The model.
        store: Where encoded contexts are kept; in memory alone unless given.
        examples: Questions to measure with, at least 8 of each kind; by default those of
            `load_examples`.
        sequential: Numbers of contexts to read in sequence, the last ones of a prompt; each is
            measured with the best temperature and scale.
        minimum_share: The share of sequential encoding's quality that each kind of question has to
            keep for parallel encoding to be allowed.
        progress: Told how many settings were tried, and how many measured.

    Raises:
        InputError: There are too few examples of a kind, or `minimum_share` is not above 0.
        Unsupported: The contexts of the model cannot be encoded in parallel.
    """
    if not minimum_share > 0:
        raise InputError(f"minimum_share is {minimum_share}; it must be above 0")
    asked = _ordered(load_examples() if examples is None else examples)
    parallel = ParallelLLM(llm, ApeSettings(), store=store)
    trials = _Trials(llm, parallel, asked, progress)

    best = greedy_search(trials.share)
    even, odd = (
        greedy_search(lambda settings, half=half: trials.share(settings, half))  # type: ignore[misc]
        for half in (slice(0, None, 2), slice(1, None, 2))
    )
    searched = trials.tried
    counts = (0, *sorted(set(sequential)))
    measured = []
    for number, count in enumerate(counts, 1):
        settings = (replace(each, sequential=count) for each in (best, odd, even))
        measured.append(trials.measurement(*settings))
        progress("measuring settings", number, len(counts))
    tuned, *hybrid = measured
    plain = ApeSettings()
    return Calibration(
        model=llm.name,
        revision=llm.revision,
        date=date.today().isoformat(),
        minimum_share=minimum_share,
        search=searched,
        plain=trials.measurement(plain, plain, plain),
        tuned=tuned,
        hybrid=tuple(hybrid),
        int8=parallel.cache.int8,
    )


def greedy_search(share: Callable[[ApeSettings], float]) -> ApeSettings:
    """Find the best temperature at scale 1, then the best scale for it, and so on while it helps.

    Args:
        share: Says how good settings are.
    """
    best = ApeSettings()
    for _ in range(_ROUNDS):
        start = best
        for name in ("temperature", "scale"):
            changes: list[dict[str, Any]] = [{name: value} for value in GRID]
            best = _best_of_line([replace(best, **change) for change in changes], share)
        if best == start:
            break
    return best


def _best_of_line(
    line: Sequence[ApeSettings], share: Callable[[ApeSettings], float]
) -> ApeSettings:
    best, highest, worse = line[0], share(line[0]), 0
    for settings in line[1:]:
        value = share(settings)
        if value > highest:
            best, highest, worse = settings, value, 0
        else:
            worse += 1
        if worse == _WORSE:
            break
    return best


def answer_logprob(llm: LLM, example: Example) -> float:
    """Return the log-probability per token of the likeliest accepted answer.

    The reply begins with the prompt's `reply_prefix`, or with 'Answer:' where it has none. Without
    such a beginning settings that make a model forget to write sentences look good, however wrong
    its answers are. Of more than three accepted answers the first three are tried.
    """
    prompt = replace(example.prompt, reply_prefix=example.prompt.reply_prefix or "Answer:")
    answers = [f" {answer}" for answer in example.answers[:_ANSWERS]]
    scores = llm.score([prompt] * len(answers), answers)
    return max(fmean(score.token_logprobs) for score in scores)


def share_of(probabilities: Sequence[float], sequential: Sequence[float]) -> Share:
    """Return the ratio of two means, and its percentile-bootstrap interval (Efron 1979).

    Args:
        probabilities: Of the answer of each question, with contexts encoded in parallel.
        sequential: The same with sequential encoding.
    """
    pairs = np.array([probabilities, sequential])
    count = pairs.shape[1]
    picks = np.random.default_rng(0).integers(0, count, (_SAMPLES, count))
    ours, theirs = pairs[:, picks].mean(axis=-1)
    low, high = np.quantile(ours / theirs, [0.025, 0.975]).tolist()
    return Share(fmean(probabilities) / fmean(sequential), low, high, count)


class _Trials:
    """Tries settings of parallel encoding against sequential encoding, on the same questions.

    Args:
        llm: The model, which encodes sequentially.
        parallel: The same model, with any settings.
        examples: The questions.
        progress: Told how many of them were read, and how many settings tried.
    """

    def __init__(
        self,
        llm: LLM,
        parallel: ParallelLLM,
        examples: Sequence[Example],
        progress: Progress,
    ) -> None:
        self._parallel = parallel
        self._examples = examples
        self._progress = progress
        self._found: dict[ApeSettings, list[float]] = {}
        parallel.prefill([each.prompt for each in examples], progress)
        self._sequential = []
        for number, each in enumerate(examples, 1):
            self._sequential.append(math.exp(answer_logprob(llm, each)))
            progress("reading sequentially", number, len(examples))

    @property
    def tried(self) -> tuple[Trial, ...]:
        """The settings that were tried, in order, with their shares over all questions."""
        return tuple(Trial(settings, self.share(settings)) for settings in self._found)

    def share(self, settings: ApeSettings, rows: slice = slice(None)) -> float:
        """Return the share over some of the questions."""
        return fmean(self._probabilities(settings)[rows]) / fmean(self._sequential[rows])

    def measurement(
        self, settings: ApeSettings, even: ApeSettings, odd: ApeSettings
    ) -> Measurement:
        """Return the share for each kind of question.

        Args:
            settings: Those that are measured.
            even: Those that their even questions are asked with.
            odd: Those that their odd questions are asked with.
        """
        probabilities = [
            self._probabilities((even, odd)[row % 2])[row] for row in range(len(self._examples))
        ]
        rows: dict[str, list[int]] = {}
        for row, example in enumerate(self._examples):
            rows.setdefault(example.kind, []).append(row)
        return Measurement(
            settings,
            {
                kind: share_of(
                    [probabilities[row] for row in some], [self._sequential[row] for row in some]
                )
                for kind, some in rows.items()
            },
        )

    def _probabilities(self, settings: ApeSettings) -> list[float]:
        if settings not in self._found:
            llm = self._parallel.with_settings(settings)
            self._found[settings] = [math.exp(answer_logprob(llm, each)) for each in self._examples]
            self._progress("trying settings", len(self._found), None)
        return self._found[settings]


def _ordered(examples: Sequence[Example]) -> list[Example]:
    """Order examples so that both halves have the same kinds and numbers of contexts."""
    kinds = Counter(each.kind for each in examples)
    if min(kinds.values(), default=0) < _FEWEST:
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        raise InputError(
            f"too few questions to calibrate with ({counted}); give {_FEWEST} or more of each kind"
        )
    return sorted(examples, key=lambda each: (each.kind, len(each.prompt.contexts)))

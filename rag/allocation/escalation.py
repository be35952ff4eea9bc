"""Stopping early: a ladder of cells, which each question climbs until its answer is sure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rag.allocation.observations import Cell, Observation
from rag.core.errors import InputError

_QUANTILES = np.linspace(0, 0.9, 10)
_WORD = re.compile(r"\w+")

_Climb: TypeAlias = tuple[Observation, ...]
"""One question at each rung."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """A ladder of cells, cheap to dear, and when a question stops climbing it.

    Args:
        ladder: The cells, two at least. A question starts with the first one.
        thresholds: For each rung but the last, how likely the model has to find its answer for the
            question to stop there; None where no confidence is enough.
        agreement: Whether a question also stops where a rung answers as the one before did.

    Raises:
        InputError: The ladder is too short, or there is not a threshold for each rung but the last.
    """

    ladder: tuple[Cell, ...]
    thresholds: tuple[float | None, ...]
    agreement: bool

    def __post_init__(self) -> None:
        """Refuse numbers that do not match."""
        if len(self.ladder) < 2 or len(self.thresholds) != len(self.ladder) - 1:
            raise InputError(
                f"an escalation of {len(self.ladder)} cells and {len(self.thresholds)} thresholds; "
                "it has two cells at least, and a threshold for each but the last"
            )

    def stops(self, answers: Sequence[str], confidence: float | None) -> bool:
        """Return whether a question stops where it is.

        Args:
            answers: The answers of the rungs so far, the newest last.
            confidence: How likely the model found the newest one; None where that is not known.
        """
        rung = len(answers) - 1
        if rung == len(self.thresholds):
            return True
        threshold = self.thresholds[rung]
        if threshold is not None and confidence is not None and confidence >= threshold:
            return True
        return self.agreement and rung > 0 and _same(answers[-2], answers[-1])

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads, in types that JSON has."""
        fields: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return fields

    @classmethod
    def from_json(cls, fields: object) -> Escalation:
        """Return the escalation that `as_json` gave these fields of.

        Raises:
            InputError: They are no escalation.
        """
        try:
            return _ADAPTER.validate_python(fields)
        except (ValidationError, InputError) as error:
            raise InputError(f"no escalation: {error}; fit one anew") from error


_ADAPTER = TypeAdapter(Escalation)


@dataclass(frozen=True, slots=True)
class EscalationReport:
    """What an escalation does to questions that it was not fitted to.

    Args:
        questions: How many there are.
        metric: Mean of the metric.
        tokens: Input tokens of a question, of all rungs that it climbed; the mean.
        metric_of_last: Mean of the metric with the last cell alone.
        tokens_of_last: Input tokens of a question with the last cell alone; the mean.
        standard_error: Of the difference between the two metrics, question by question.
        share_stopped: For each rung the share of the questions that stopped there.
    """

    questions: int
    metric: float
    tokens: float
    metric_of_last: float
    tokens_of_last: float
    standard_error: float
    share_stopped: tuple[float, ...]

    @property
    def tokens_saved(self) -> float:
        """Share of the last cell's tokens that is saved; below 0 if the rungs take more."""
        return 1 - self.tokens / self.tokens_of_last


def fit_escalation(
    observations: Iterable[Observation], ladder: Sequence[Cell], metric: str
) -> Escalation:
    """Fit an escalation's thresholds so that it scores best, and then takes the least tokens.

    The thresholds are quantiles of the confidences at their rung. From a ladder that is climbed to
    its end, one threshold after the other, and whether agreement counts, is set to the best that
    it can be, until nothing gets better. So on these questions it never scores less than the last
    cell.

    Args:
        observations: Questions, and what came of them. Those that were not answered at each cell
            of the ladder are left out.
        ladder: The cells, cheap to dear.
        metric: The metric to lose nothing of.

    Raises:
        InputError: No question was answered at each cell, or the metric was not measured.
    """
    return _fitted(_climbs(observations, ladder, metric), ladder, metric)


def replay(
    observations: Iterable[Observation],
    ladder: Sequence[Cell],
    metric: str,
    *,
    folds: int = 5,
    seed: int = 0,
) -> EscalationReport:
    """Return what escalation would have done, each question with thresholds fitted to others.

    Args:
        observations: As for `fit_escalation`.
        ladder: The cells, cheap to dear.
        metric: The metric.
        folds: Parts of the questions; thresholds for each are fitted to the others.
        seed: Makes the parts repeatable.

    Raises:
        InputError: There are fewer questions than parts, or see `fit_escalation`.
    """
    climbs = _climbs(observations, ladder, metric)
    if not 2 <= folds <= len(climbs):
        raise InputError(f"{len(climbs)} questions do not make {folds} parts; give more questions")
    order = np.random.default_rng(seed).permutation(len(climbs))
    stops: list[tuple[_Climb, int]] = []
    for fold in range(folds):
        held_out = order[fold::folds].tolist()
        others = [climb for place, climb in enumerate(climbs) if place not in held_out]
        escalation = _fitted(others, ladder, metric)
        stops += [(climbs[place], _stop(escalation, climbs[place])) for place in held_out]
    return _reported(stops, metric)


def _climbs(
    observations: Iterable[Observation], ladder: Sequence[Cell], metric: str
) -> list[_Climb]:
    """Return the questions that were answered at all rungs, with what came of each."""
    questions: dict[tuple[str, str], dict[Cell, Observation]] = defaultdict(dict)
    for each in observations:
        questions[each.dataset, each.query_id][each.cell] = each
    climbs = [
        tuple(cells[cell] for cell in ladder)
        for _, cells in sorted(questions.items())
        if all(cell in cells for cell in ladder)
    ]
    if not climbs:
        raise InputError("no question was answered at each cell of the ladder; profile them all")
    if any(metric not in each.metrics for climb in climbs for each in climb):
        known = ", ".join(sorted(climbs[0][0].metrics))
        raise InputError(f"an observation has no metric '{metric}'; the first one has {known}")
    return climbs


def _fitted(climbs: Sequence[_Climb], ladder: Sequence[Cell], metric: str) -> Escalation:
    def score(escalation: Escalation) -> tuple[float, float]:
        ends = [(climb, _stop(escalation, climb)) for climb in climbs]
        # Sums of the same numbers in another order are not better.
        gained = round(sum(climb[stop].metrics[metric] for climb, stop in ends), 9)
        return gained, -sum(_tokens(climb, stop) for climb, stop in ends)

    rungs = range(len(ladder) - 1)
    choices = [_choices(climbs, rung) for rung in rungs]
    fitted = Escalation(tuple(ladder), (None,) * len(rungs), agreement=False)
    while True:
        before = fitted
        for rung in rungs:
            fitted = max([fitted, *(_at(fitted, rung, each) for each in choices[rung])], key=score)
        fitted = max([fitted, replace(fitted, agreement=not fitted.agreement)], key=score)
        if fitted == before:
            return fitted


def _choices(climbs: Sequence[_Climb], rung: int) -> list[float | None]:
    known = [climb[rung].confidence for climb in climbs]
    confidences = [each for each in known if each is not None]
    return [None, *(np.quantile(confidences, _QUANTILES).tolist() if confidences else [])]


def _at(escalation: Escalation, rung: int, threshold: float | None) -> Escalation:
    thresholds = list(escalation.thresholds)
    thresholds[rung] = threshold
    return replace(escalation, thresholds=tuple(thresholds))


def _stop(escalation: Escalation, climb: _Climb) -> int:
    """Return the rung at which a question stops."""
    answers = [each.answer for each in climb]
    return next(
        rung
        for rung, each in enumerate(climb)
        if escalation.stops(answers[: rung + 1], each.confidence)
    )


def _tokens(climb: _Climb, stop: int) -> int:
    return sum(each.input_tokens for each in climb[: stop + 1])


def _reported(stops: Sequence[tuple[_Climb, int]], metric: str) -> EscalationReport:
    last = np.array([climb[-1].metrics[metric] for climb, _ in stops])
    stopped = np.array([climb[stop].metrics[metric] for climb, stop in stops])
    rungs = np.bincount([stop for _, stop in stops], minlength=len(stops[0][0]))
    return EscalationReport(
        questions=len(stops),
        metric=float(stopped.mean()),
        tokens=float(np.mean([_tokens(*each) for each in stops])),
        metric_of_last=float(last.mean()),
        tokens_of_last=float(np.mean([climb[-1].input_tokens for climb, _ in stops])),
        standard_error=float((stopped - last).std(ddof=1)) / math.sqrt(len(stops)),
        share_stopped=tuple((rungs / len(stops)).tolist()),
    )


def _same(answer: str, other: str) -> bool:
    """Return whether two answers have the same words; none is not an answer."""
    words = _WORD.findall(answer.casefold())
    return bool(words) and words == _WORD.findall(other.casefold())

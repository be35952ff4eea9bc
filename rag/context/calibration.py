"""What parallel encoding costs a model in quality, and whether that is little enough to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from rag.context.settings import ApeSettings
from rag.core.errors import InputError, Unsupported

if TYPE_CHECKING:
    from rag.context.store import ContextStore

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Share:
    """How likely right answers stay when contexts are encoded in parallel.

    Args:
        value: Probability of an answer's token, the mean over questions, divided by that with
            sequential encoding. 1 is no loss.
        low: Lower end of the 95 % bootstrap interval.
        high: Upper end.
        questions: How many questions there are.
    """

    value: _Positive
    low: _Positive
    high: _Positive
    questions: int

    def __str__(self) -> str:
        """Return the share and its interval."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that the search tried.

    Args:
        settings: The settings.
        share: Their share over all questions of the search.
    """

    settings: ApeSettings
    share: _Positive


@dataclass(frozen=True, slots=True)
class Measurement:
    """What settings do to questions that the search has not seen.

    Args:
        settings: The settings.
        shares: The share for each kind of question.
    """

    settings: ApeSettings
    shares: Annotated[Mapping[str, Share], Field(min_length=1)]

    @property
    def lowest(self) -> float:
        """The share of the kind of question that loses most."""
        return min(share.value for share in self.shares.values())


@dataclass(frozen=True, slots=True)
class Calibration:
    """What parallel encoding costs a model, at the settings that cost it least.

    Args:
        model: The model's name.
        revision: Its revision.
        date: The day, as YYYY-MM-DD.
        minimum_share: What each kind of question has to keep for the settings to be allowed.
        search: The settings tried, in order, over one half of the questions.
        plain: Temperature and scale 1, over the other half.
        tuned: The best temperature and scale of the search, over the other half.
        hybrid: The same with the last contexts read in sequence, fewest first.
        int8: Whether the states were rounded to int8.
    """

    model: str
    revision: str
    date: str
    minimum_share: _Positive
    search: tuple[Trial, ...]
    plain: Measurement
    tuned: Measurement
    hybrid: tuple[Measurement, ...]
    int8: bool = False

    @property
    def allowed(self) -> ApeSettings | None:
        """The settings that keep enough of every kind of question, most in parallel.

        None where there are none: contexts are to be encoded sequentially then.
        """
        enough = (each for each in self._choices if each.lowest >= self.minimum_share)
        return next((each.settings for each in enough), None)

    def explain(self) -> str:
        """Return what was measured, and what follows from it, in two sentences."""
        allowed = self.allowed
        told = max(self._choices, key=lambda each: (each.settings == allowed, each.lowest))
        shares = " and ".join(
            f"{share} times as likely on {share.questions} {kind} questions"
            for kind, share in told.shares.items()
        )
        follows = (
            "This is allowed" if allowed else "This is the closest of all settings and not allowed"
        )
        return (
            f"Compared with sequential encoding, {self.model} with {_worded(told.settings)} finds "
            f"a token of the right answer {shares}. "
            f"{follows}: each kind has to reach {self.minimum_share:g}."
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads, in types that JSON has."""
        fields: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return fields

    @classmethod
    def from_json(cls, fields: object) -> Calibration:
        """Return the calibration that `as_json` gave these fields of.

        Raises:
            InputError: They are no calibration.
        """
        try:
            return _ADAPTER.validate_python(fields)
        except (ValidationError, InputError) as error:
            reason = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "fields"
                reason = f"{where}: {first['msg']}"
            raise InputError(f"no calibration of parallel encoding: {reason}; make one") from error

    @property
    def _choices(self) -> tuple[Measurement, ...]:
        return (self.tuned, *self.hybrid)


_ADAPTER = TypeAdapter(Calibration)


def allowed_settings(model: str, store: ContextStore | None) -> ApeSettings:
    """Return the settings that the calibration in a store's manifest allows.

    Args:
        model: The model's name, for errors.
        store: The store.

    Raises:
        InputError: There is no calibration, or it cannot be read.
        Unsupported: It found that answers would suffer too much.
    """
    kept = store.calibration if store else None
    if kept is None:
        place = f" in {store.path}" if store else ""
        raise InputError(
            f"{model}: no calibration of parallel encoding{place}; "
            "make one with `rag cache calibrate`, or give settings"
        )
    calibration = Calibration.from_json(kept)
    if calibration.allowed is None:
        what = f"parallel encoding well enough. {calibration.explain()}"
        raise Unsupported(model, what, "read contexts in sequence, or give settings")
    return calibration.allowed


def _worded(settings: ApeSettings) -> str:
    words = f"parallel encoding at temperature {settings.temperature:g}, scale {settings.scale:g}"
    if not settings.sequential:
        return words
    return f"{words} and the last {settings.sequential} contexts in sequence"

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.escalation import Escalation, fit_escalation, replay
from rag.allocation.observations import Cell, Observation
from rag.core.allocations import Allocation
from rag.core.errors import InputError

LADDER: list[Cell] = [
    ("DRAG", Allocation(1)), ("DRAG", Allocation(5)), ("IterDRAG", Allocation(5, 1, 3)),
]  # fmt: skip
TOKENS = (100, 500, 3000)


def climb(
    query: str,
    scores: Sequence[float],
    sure: Sequence[float | None],
    answers: Sequence[str] = "abc",
) -> list[Observation]:
    return [
        Observation(
            "musique", *cell, query, {"em": score}, input_tokens=tokens, confidence=confidence,
            answer=answer,
        )
        for cell, score, confidence, tokens, answer in zip(
            LADDER, scores, sure, TOKENS, answers, strict=True
        )
    ]  # fmt: skip


def asked(count: int, seed: int = 0, *, informed: bool = True) -> list[Observation]:
    """Return questions; higher rungs answer more of them, and confidences may tell which."""
    rng = np.random.default_rng(seed)
    found: list[Observation] = []
    for number in range(count):
        chances = np.clip(np.array([1.2, 1.5, 1.8]) - 1.5 * rng.uniform(), 0.02, 0.98)
        right = 0.6 * rng.uniform() + 0.4 * rng.uniform(size=3) < chances
        sure = chances + rng.normal(scale=0.1, size=3) if informed else rng.uniform(size=3)
        answers = ["right" if each else f"wrong {rung}" for rung, each in enumerate(right)]
        found += climb(f"q{number}", right.astype(float).tolist(), sure.tolist(), answers)
    return found


def test_when_a_question_stops() -> None:
    found = Escalation(tuple(LADDER), (0.8, None), agreement=True)
    assert found.stops(["Paris"], 0.8)
    assert not found.stops(["Paris"], 0.79)
    assert not found.stops(["Paris"], None)
    assert not found.stops(["Paris", "London"], 1.0)
    assert found.stops(["Paris", "paris."], 0.0)
    assert not found.stops(["", ""], 0.0)
    assert found.stops(["a", "b", "c"], None)
    alone = Escalation(tuple(LADDER), (0.8, None), agreement=False)
    assert not alone.stops(["Paris", "Paris"], 0.0)


def test_thresholds_by_hand() -> None:
    """The first rung is right where it is 0.9 sure, the second one where it is 0.5 sure."""
    observations = [
        *climb("easy", (1, 1, 1), (0.9, 0.9, 0.9)),
        *climb("middling", (0, 1, 1), (0.3, 0.5, 0.9)),
        *climb("hard", (0, 0, 1), (0.4, 0.1, 0.9)),
    ]
    found = fit_escalation(observations, LADDER, "em")
    first, second = found.thresholds
    assert first is not None
    assert second is not None
    assert 0.4 < first <= 0.9
    assert 0.1 < second <= 0.5
    assert found.ladder == tuple(LADDER)


def test_a_confidence_that_says_nothing_stops_nobody() -> None:
    observations = [
        *climb("a", (0, 0, 1), (0.9, 0.9, 0.9)),
        *climb("b", (1, 1, 1), (0.1, 0.1, 0.9)),
        *climb("c", (0, 0, 1), (0.9, 0.9, 0.9)),
        *climb("d", (0, 0, 1), (0.05, None, None)),
    ]
    assert fit_escalation(observations, LADDER, "em").thresholds == (None, None)


def test_agreement_counts_where_it_loses_nothing() -> None:
    unknown = (None, None, None)
    right = climb("a", (1, 1, 1), unknown, answers="xxx")
    assert fit_escalation(right, LADDER, "em") == Escalation(tuple(LADDER), (None, None), True)
    wrong = climb("b", (0, 0, 1), unknown, answers="yyx")
    assert not fit_escalation(right + wrong, LADDER, "em").agreement


def test_tokens_are_those_of_all_rungs_that_were_climbed() -> None:
    observations = [
        each
        for number in range(4)
        for each in [
            *climb(f"easy {number}", (1, 1, 1), (0.9, 0.9, 0.9)),
            *climb(f"hard {number}", (0, 0, 1), (0.2, 0.2, 0.9)),
        ]
    ]
    found = replay(observations, LADDER, "em", folds=4)
    assert (found.questions, found.metric, found.metric_of_last) == (8, 1.0, 1.0)
    assert found.tokens == (100 + 3600) / 2
    assert found.tokens_of_last == 3000
    assert found.tokens_saved == pytest.approx(1 - 1850 / 3000)
    assert found.share_stopped == (0.5, 0, 0.5)
    assert found.standard_error == 0


def test_good_confidences_save_tokens_at_the_same_score() -> None:
    found = replay(asked(150), LADDER, "em")
    assert found.tokens_saved > 0.3
    assert found.metric > found.metric_of_last - 0.03
    assert sum(found.share_stopped) == pytest.approx(1)


def test_thresholds_are_judged_on_other_questions_than_they_are_fitted_to() -> None:
    """What says nothing of the answers seems to on the questions it was chosen on."""
    lost = []
    for seed in range(4):
        observations = asked(40, seed, informed=False)
        fitted = fit_escalation(observations, LADDER, "em")
        ladder_alone = np.mean([each.metrics["em"] for each in observations[2::3]])
        seen = np.mean([_end(fitted, observations[at : at + 3]) for at in range(0, 120, 3)])
        assert seen >= ladder_alone
        lost.append(seen - replay(observations, LADDER, "em").metric)
    assert np.mean(lost) > 0.01


def _end(escalation: Escalation, climb: Sequence[Observation]) -> float:
    answers = [each.answer for each in climb]
    for rung, each in enumerate(climb):
        if escalation.stops(answers[: rung + 1], each.confidence):
            return each.metrics["em"]
    raise AssertionError("the last rung did not stop")


questions = st.lists(
    st.tuples(
        st.tuples(*[st.floats(0, 1)] * 3), st.tuples(*[st.none() | st.floats(0, 1)] * 3),
        st.text("xy", min_size=3, max_size=3),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(questions)
def test_what_it_was_fitted_to_never_loses(
    drawn: list[tuple[tuple[float, ...], tuple[float | None, ...], str]],
) -> None:
    climbs = [climb(f"q{at}", *each) for at, each in enumerate(drawn)]
    fitted = fit_escalation([each for rungs in climbs for each in rungs], LADDER, "em")
    last = sum(rungs[-1].metrics["em"] for rungs in climbs)
    assert sum(_end(fitted, rungs) for rungs in climbs) >= last - 1e-8


def test_questions_that_are_not_at_all_rungs_are_left_out() -> None:
    observations = asked(6)
    assert replay(observations[:-1], LADDER, "em", folds=2).questions == 5
    with pytest.raises(InputError, match="no question was answered at each cell"):
        fit_escalation(observations[:2], LADDER, "em")
    with pytest.raises(InputError, match="no metric 'f1'; the first one has em"):
        fit_escalation(observations, LADDER, "f1")
    with pytest.raises(InputError, match="1 questions do not make 5 parts"):
        replay(observations[:3], LADDER, "em")
    with pytest.raises(InputError, match="1 cells and 0 thresholds"):
        fit_escalation(observations, LADDER[:1], "em")


def test_a_saved_escalation_is_the_same() -> None:
    for fitted in (Escalation(tuple(LADDER), (0.1 + 0.2, None), agreement=True),
                   fit_escalation(asked(20), LADDER, "em")):  # fmt: skip
        assert Escalation.from_json(json.loads(json.dumps(fitted.as_json()))) == fitted


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"thresholds": [0.5]}, "3 cells and 1 thresholds"), ({"ladder": [["DRAG"]]}, "ladder"),
     ({"thresholds": ["high", None]}, "thresholds"), ({"agreement": None}, "agreement"),
     ({"ladder": [["DRAG", {"documents": 1, "steps": 0}]]}, "0 steps")],
)  # fmt: skip
def test_other_fields_are_refused(change: dict[str, object], reason: str) -> None:
    fields = Escalation(tuple(LADDER), (0.5, None), agreement=True).as_json()
    with pytest.raises(InputError, match=f"(?s)no escalation: .*{reason}.*fit one anew"):
        Escalation.from_json({**fields, **change})

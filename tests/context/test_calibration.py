import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.context.calibration import Calibration, Measurement, Share, Trial
from rag.context.settings import ApeSettings
from rag.core.errors import InputError

positive = st.floats(1e-6, 1e6)
shares = st.builds(Share, positive, positive, positive, st.integers(1, 99))
kinds = st.dictionaries(st.text(max_size=8), shares, min_size=1, max_size=3)
settings = st.builds(ApeSettings, positive, positive, st.integers(0, 9))
measurements = st.builds(Measurement, settings, kinds)
calibrations = st.builds(
    Calibration,
    *[st.text(max_size=8)] * 3,
    positive,
    st.lists(st.builds(Trial, settings, positive), max_size=3).map(tuple),
    measurements,
    measurements,
    st.lists(measurements, max_size=3).map(tuple),
)


def measured(single: float, multi: float, sequential: int = 0) -> Measurement:
    values = {"single-hop": single, "multi-hop": multi}
    return Measurement(
        ApeSettings(0.6, 0.8, sequential),
        {kind: Share(value, value - 0.1, value + 0.1, 12) for kind, value in values.items()},
    )


def calibrated(tuned: Measurement, *hybrid: Measurement) -> Calibration:
    plain = replace(tuned, settings=ApeSettings())
    return Calibration("tiny", "1", "2026-01-31", 0.95, (), plain, tuned, hybrid)


@given(calibrations)
def test_json_brings_the_same_calibration_back(calibration: Calibration) -> None:
    text = json.dumps(calibration.as_json(), allow_nan=False)
    assert Calibration.from_json(json.loads(text)) == calibration


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [(["model"], None, "model: "),
     (["search", 0], 3, r"search\.0: "),
     (["search", 0, "share"], math.nan, r"search\.0\.share: "),
     (["minimum_share"], 0, "minimum_share: .*greater than 0"),
     (["tuned", "shares"], {}, r"tuned\.shares: .*at least 1"),
     (["tuned", "shares", "single-hop", "value"], math.nan, "value: .*finite"),
     (["tuned", "settings", "temperature"], -1, "temperature is -1.0"),
     (["hybrid"], {}, "hybrid: ")],
)  # fmt: skip
def test_other_json_is_refused(path: list[Any], value: object, reason: str) -> None:
    tuned = measured(0.9, 0.9)
    fields = replace(calibrated(tuned), search=(Trial(ApeSettings(), 0.9),)).as_json()
    *parents, last = path
    place = fields
    for name in parents:
        place = place[name]
    place[last] = value
    with pytest.raises(InputError, match=rf"no calibration of parallel encoding: .*{reason}"):
        Calibration.from_json(fields)


@pytest.mark.parametrize("fields", [None, [], {}, {"model": "tiny"}, "calibration"])
def test_what_is_no_calibration_is_refused(fields: object) -> None:
    with pytest.raises(InputError, match=r"no calibration of parallel encoding: .*make one"):
        Calibration.from_json(fields)


def test_every_kind_has_to_keep_enough() -> None:
    assert calibrated(measured(0.95, 0.96)).allowed == ApeSettings(0.6, 0.8)
    assert calibrated(measured(0.99, 0.94)).allowed is None
    assert calibrated(measured(0.94, 0.99)).allowed is None


def test_as_few_contexts_as_possible_are_read_in_sequence() -> None:
    hybrid = measured(0.9, 0.93, 1), measured(0.97, 0.95, 2), measured(0.99, 0.99, 3)
    assert calibrated(measured(0.9, 0.8), *hybrid).allowed == ApeSettings(0.6, 0.8, 2)
    assert calibrated(measured(0.97, 0.97), *hybrid).allowed == ApeSettings(0.6, 0.8)
    assert calibrated(measured(0.9, 0.8), *hybrid[:1]).allowed is None


def test_an_explanation_says_what_was_measured_and_what_follows() -> None:
    allowed = calibrated(measured(0.9, 0.8), measured(0.97, 0.96, 2)).explain()
    assert allowed == (
        "Compared with sequential encoding, tiny with parallel encoding at temperature 0.6, scale "
        "0.8 and the last 2 contexts in sequence finds a token of the right answer 0.97 [0.87, "
        "1.07] times as likely on 12 single-hop questions and 0.96 [0.86, 1.06] times as likely on "
        "12 multi-hop questions. This is allowed: each kind has to reach 0.95."
    )
    refused = calibrated(measured(0.9, 0.8), measured(0.92, 0.7, 1)).explain()
    assert "scale 0.8 finds a token of the right answer 0.90 [0.80, 1.00]" in refused
    assert "closest of all settings and not allowed: each kind has to reach 0.95" in refused

import re
import statistics
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rag.core.errors import InputError
from rag.models.calibration import (
    OUTPUT_TOKENS,
    Calibration,
    calibrate,
    cost_model_path,
    kept_cost_model,
)
from rag.models.calibration_plot import plot_calibration
from rag.models.machine import machine
from rag.testing.llms import EchoLLM
from tests.models.simulated import LAPTOP, SimulatedLLM


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    llm = SimulatedLLM(noise=0.05)
    return calibrate(llm, seconds=300, clock=llm.clock)


def test_the_held_out_error_is_that_of_calls_not_seen(calibration: Calibration) -> None:
    origin = calibration.model.origin
    assert origin is not None
    assert (origin.calls, origin.held_out_calls) == (
        len(calibration.fitted), len(calibration.held_out),
    )  # fmt: skip
    assert not set(calibration.fitted) & set(calibration.held_out)
    errors = sorted(map(calibration.model.relative_error, calibration.held_out))
    assert origin.median_error == statistics.median(errors)
    assert errors[0] <= origin.median_error <= origin.p90_error <= errors[-1]
    assert origin.median_error < 0.1


def test_what_calls_really_take_is_found(calibration: Calibration) -> None:
    for read, written, cached in [(100, 1, 0), (1000, 64, 0), (1000, 8, 900), (500, 100, 499)]:
        true = LAPTOP.predict(read, written, cached)
        assert calibration.model.predict(read, written, cached) == pytest.approx(true, rel=0.1)


def test_calls_are_of_all_shapes(calibration: Calibration) -> None:
    calls = calibration.fitted
    assert {call.output_tokens for call in calls} >= {1, 8}
    read = [call.input_tokens for call in calls]
    assert min(read) < 50 < 20 * min(read) < max(read)
    shares = {round(call.cached_tokens / call.input_tokens, 1) for call in calls}
    assert shares >= {0.0, 0.5, 1.0}


def test_without_a_cache_nothing_is_taken_for_cached() -> None:
    llm = SimulatedLLM(noise=0.05, keeps=False)
    found = calibrate(llm, seconds=300, clock=llm.clock)
    assert all(call.cached_tokens == 0 for call in (*found.fitted, *found.held_out))
    assert found.model.cached == 0


def test_time_is_kept_and_reported() -> None:
    llm = SimulatedLLM()
    reports: list[tuple[int, int | None]] = []
    calibrate(
        llm,
        seconds=100,
        clock=llm.clock,
        progress=lambda _, done, all_: reports.append((done, all_)),
    )
    assert 100 <= llm.now < 110
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert reports[-1] == (100, 100)


def test_too_little_time_is_an_error() -> None:
    llm = SimulatedLLM()
    with pytest.raises(
        InputError, match=r"simulated/one made \d calls in 2 seconds.* more seconds"
    ):
        calibrate(llm, seconds=2, clock=llm.clock)


def test_a_small_window_is_not_overrun() -> None:
    llm = EchoLLM(context_window=128)
    found = calibrate(llm, seconds=0.2)
    assert max(call.input_tokens for call in found.fitted) <= 128 - max(OUTPUT_TOKENS)


def test_a_kept_model_is_found_by_model_and_machine(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path))
    llm = SimulatedLLM()
    assert kept_cost_model(llm) is None
    path = cost_model_path(llm)
    assert re.fullmatch(r"simulated-one-[0-9a-f]{12}\.json", path.name)
    assert path.parent == tmp_path / "costs"
    calibration.model.save(path)
    assert kept_cost_model(llm) == calibration.model
    assert kept_cost_model(EchoLLM(name="simulated/one")) is None
    llm.revision = "2"
    assert kept_cost_model(llm) is None


def test_the_machine_says_processor_and_cores() -> None:
    assert re.fullmatch(r"\S.*, \d+ cores(, .+)?", machine())


def test_a_plot_is_drawn(calibration: Calibration, tmp_path: Path) -> None:
    plot_calibration(calibration, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    plot_calibration(calibration, tmp_path / "plot.svg")
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")
    with pytest.raises(InputError, match=r"plot\.doc: .*png"):
        plot_calibration(calibration, tmp_path / "plot.doc")

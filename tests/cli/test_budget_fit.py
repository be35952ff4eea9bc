"""`rag budget fit`, `plan` and `export` on profiles of a made-up model, once on a real one."""

import json
from pathlib import Path
from typing import Any

import pytest

from rag.allocation.fitted import FittedAllocation
from rag.allocation.observations import read_observations
from rag.allocation.store import ObservationStore
from rag.core.budgets import Budget
from rag.models import registry
from rag.models.calibration import cost_model_path
from rag.models.cost_model import CostModel
from rag.testing import EchoLLM
from tests.allocation.simulated import GRID, PASSAGES, observations, simulated
from tests.cli.kept_passages import rag, rag_json
from tests.cli.questions import write_questions

TABLE = simulated(16, cells=[cell for cell in GRID if cell[1].documents <= 5])


def write_profile(file: Path, dataset: str = "", **setup: str) -> Path:
    """Write the profile of one data set, or of all of them."""
    table = TABLE.where(lambda name, _: name == dataset or not dataset)
    ObservationStore(file, {"llm": "made up"} | setup).add(observations(table))
    return file


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_profile(tmp_path_factory.mktemp("budget") / "profile.sqlite")


@pytest.fixture(scope="module")
def model(profiled: Path) -> Path:
    file = profiled.with_name("model.json")
    rag("budget", "fit", profiled, "--output", file)
    return file


def test_fit_writes_a_model_and_says_how_good_it_is(profiled: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    said = rag_json("budget", "fit", profiled, "-o", file, "--metric", "EM", "--quantile", 0.9)
    fitted = FittedAllocation.load(file)
    assert said == {
        "file": str(file),
        "metric": "EM",
        "datasets": sorted(PASSAGES),
        "measured_cells": len(fitted.model.scores),
        "cell_r2": fitted.model.cell_r2,
        "transfer_r2": fitted.model.transfer_r2,
        "why_not": "",
    }
    assert (fitted.model.metric, fitted.tokens.quantile) == ("EM", 0.9)
    done = rag("budget", "fit", profiled, "-o", file)
    assert (
        f"{file}: F1 of {said['measured_cells']} cells of 2wiki, hotpotqa, musique" in done.stdout
    )
    assert "R2 0." in done.stdout
    assert done.stderr == ""
    assert FittedAllocation.load(file).model.metric == "F1"


def test_fit_warns_of_a_model_that_is_not_relied_on(tmp_path: Path) -> None:
    few = TABLE.where(
        lambda name, cell: name == "2wiki" and cell[0] == "DRAG" and not cell[1].examples
    )
    file = tmp_path / "few.jsonl"
    file.write_text("".join(json.dumps(each.as_json()) + "\n" for each in observations(few)))
    done = rag("budget", "fit", file, "-o", tmp_path / "model.json")
    assert "plans go by what was measured: only 4 cells were measured" in done.stderr
    assert "left out but for its anchors" not in done.stdout
    shown = rag("budget", "plan", tmp_path / "model.json", "--tokens", 5000).stdout
    assert "by: grid search: only 4 cells" in shown


def test_profiles_in_several_files_are_one(profiled: Path, model: Path, tmp_path: Path) -> None:
    parts = [
        write_profile(tmp_path / name, name, **{f"corpus of {name}": name}) for name in PASSAGES
    ]
    rag("budget", "fit", *sorted(parts), "-o", tmp_path / "model.json")
    assert (tmp_path / "model.json").read_text() == model.read_text()


def test_profiles_of_different_models_are_not_mixed(profiled: Path, tmp_path: Path) -> None:
    other = write_profile(tmp_path / "other", llm="another")
    done = rag("budget", "fit", profiled, other, "-o", tmp_path / "model.json", code=3)
    assert f"{other} holds observations with llm 'another', those before it with 'made up'" in (
        done.stderr
    )
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_what_is_exported_gives_the_same_model(
    profiled: Path, model: Path, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    rows = list(ObservationStore(profiled))
    assert f"{len(rows)} observations" in rag("budget", "export", profiled, "-o", file).stdout
    assert list(read_observations(file)) == rows
    rag("budget", "fit", file, "-o", tmp_path / "model.json")
    assert (tmp_path / "model.json").read_text() == model.read_text()


def test_no_profile_is_written_over(profiled: Path, tmp_path: Path) -> None:
    before = profiled.read_bytes()
    for command in ("fit", "export"):
        done = rag("budget", command, profiled, "-o", profiled, code=2)
        assert "is one of the files to read" in done.stderr
    assert "name --output .jsonl" in rag(
        "budget", "export", profiled, "-o", tmp_path / "rows.gz", code=2
    ).stderr  # fmt: skip
    assert profiled.read_bytes() == before
    done = rag("budget", "export", profiled, "-o", tmp_path / "none" / "rows.jsonl", code=3)
    assert "cannot be written: " in done.stderr


def test_files_of_something_else_are_named(model: Path, tmp_path: Path) -> None:
    said = {
        model: "name another file",
        tmp_path / "none.sqlite": "does not exist; `rag budget profile` makes it",
        tmp_path / "none.jsonl": "not observations",
    }
    for file, reason in said.items():
        code = 5 if file == model else 3
        done = rag("budget", "fit", file, "-o", tmp_path / "fitted.json", code=code)
        assert str(file) in done.stderr
        assert reason in done.stderr
    done = rag("budget", "plan", tmp_path / "none.json", "--tokens", 1, code=3)
    assert "none.json is no allocation model" in done.stderr


def test_a_profile_is_no_model(profiled: Path) -> None:
    done = rag("budget", "plan", profiled, "--tokens", 1, code=3)
    assert "is no allocation model: UnicodeDecodeError" in done.stderr
    assert "`rag budget fit` makes one" in done.stderr
    assert len(done.stderr) < 1000


def test_plan_says_what_a_budget_is_best_spent_on(model: Path) -> None:
    said = rag_json("budget", "plan", model, "--tokens", 2000, "--dataset", "musique")
    found = FittedAllocation.load(model).plan(Budget(tokens=2000), dataset="musique")
    assert said == json.loads(json.dumps(found.as_json()))
    assert said["needs"]["largest"] <= 2000
    shown = rag("budget", "plan", model, "--tokens", 2000, "--dataset", "musique").stdout
    for words in (found.strategy, "F1", f"{found.prediction.mean:.3f}", "twice the budget"):
        assert words in shown
    assert "by: model" in shown
    plenty = rag("budget", "plan", model, "--tokens", 10**9).stdout
    assert "twice the budget would buy nothing better" in plenty


def test_plan_for_money(model: Path) -> None:
    prices = ("--price-input", 100, "--price-output", 400)
    said = rag_json("budget", "plan", model, "--usd", 0.1, *prices)
    assert 0 < said["cost"] <= 0.1
    assert "of money for a question" in rag("budget", "plan", model, "--usd", 0.1, *prices).stdout
    both = rag_json("budget", "plan", model, "--usd", 0.1, "--tokens", 100, *prices)
    assert both["allocation"]["documents"] == 0
    assert "--usd needs --price-input" in rag("budget", "plan", model, "--usd", 1, code=2).stderr
    done = rag("budget", "plan", model, "--tokens", 1000, "--price-output", 1, code=2)
    assert "needs --price-input" in done.stderr


def test_plan_for_time(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = EchoLLM()
    monkeypatch.setattr(registry, "load_llm", lambda name: llm)
    monkeypatch.setenv("RAG_CACHE", str(tmp_path))
    limited = ("budget", "plan", model, "--seconds", 1, "--llm", "echo")
    assert "`rag models calibrate`" in rag(*limited, code=3).stderr
    CostModel(overhead=0.1, computed=0.001).save(cost_model_path(llm))
    said = rag_json(*limited)
    assert 0.1 < said["seconds"] <= 1
    assert "s of calls, one after the other" in rag(*limited).stdout
    assert "--seconds needs --llm" in rag("budget", "plan", model, "--seconds", 1, code=2).stderr


def test_a_budget_below_everything_has_an_exit_code_of_its_own(model: Path) -> None:
    done = rag("budget", "plan", model, "--tokens", 10, code=6)
    assert "nothing fits a budget of 10 tokens; the smallest that something fits is" in done.stderr
    enough = done.stderr.split("fits is ")[1].split(" tokens")[0]
    assert rag_json("budget", "plan", model, "--tokens", enough)["allocation"]["documents"] == 0


def test_plans_need_a_budget_and_a_data_set_that_is_known(model: Path) -> None:
    assert "give a budget" in rag("budget", "plan", model, code=2).stderr
    done = rag("budget", "plan", model, "--tokens", 1000, "--dataset", "nq", code=3)
    assert "no data set 'nq' was measured, but 2wiki, hotpotqa, musique" in done.stderr


def test_a_few_cells_of_a_real_profile_are_measured_fitted_and_planned(tmp_path: Path) -> None:
    dataset = write_questions(tmp_path / "hotpotqa", 0, 1)
    profile = (
        "budget", "profile", dataset, tmp_path / "p", "--retriever", "lexical",
        "--collection", tmp_path / "kept.rag", "--grid", "DRAG k=0,1,2", "--cells", 2,
    )  # fmt: skip
    said: dict[str, Any] = rag_json(*profile, "--metric", "accuracy")
    assert (said["measured"], said["known"], said["stopped"]) == (4, 0, "")
    assert said["estimate"]["calls"] == 6
    assert rag_json(*profile)["known"] == 4
    rag("budget", "fit", tmp_path / "p", "-o", tmp_path / "model.json")
    planned = rag_json("budget", "plan", tmp_path / "model.json", "--tokens", 4000)
    assert planned["strategy"] == "DRAG"
    assert planned["basis"].startswith("grid search: only 2 cells")

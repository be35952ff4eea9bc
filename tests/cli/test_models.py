"""Models are listed and calibrated, and `rag ask` keeps to the time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rag.cli import main
from rag.models import registry
from rag.models.calibration import cost_model_path
from rag.models.cost_model import CostModel
from rag.testing.llms import EchoLLM


def rag(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(autouse=True)
def echo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EchoLLM:
    """A model that answers at once, in place of every other, and an empty cache."""
    llm = EchoLLM()
    monkeypatch.setattr(registry, "load_llm", lambda name: llm)
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    return llm


def test_both_ways_to_list_say_the_same() -> None:
    assert rag("models").stdout == rag("models", "list").stdout
    assert rag("models", "--json").stdout == rag("models", "list", "--json").stdout
    assert "--json belongs after" in rag("models", "--json", "list", code=2).stderr


def test_calibrate_saves_where_ask_looks(echo: EchoLLM, tmp_path: Path) -> None:
    shown = rag("models", "calibrate", "--seconds", 1, "--plot", tmp_path / "plot.svg").stdout
    assert "1000 cached prompt tokens" in shown
    assert "median error" in shown
    assert f"saved as {cost_model_path(echo)}" in shown
    assert CostModel.load(cost_model_path(echo)).origin
    assert (tmp_path / "plot.svg").exists()


def test_calibrate_saves_where_it_is_told_to(echo: EchoLLM, tmp_path: Path) -> None:
    said = json.loads(
        rag(
            "models", "calibrate", "any", "--seconds", 1, "--save", tmp_path / "costs.json",
            "--json", "-q",
        ).stdout
    )  # fmt: skip
    assert said["path"] == str(tmp_path / "costs.json")
    assert said["model"]["origin"]["model"] == "echo"
    assert CostModel.load(tmp_path / "costs.json").computed == said["model"]["computed"]
    assert not cost_model_path(echo).exists()


Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    for number in range(4):
        text = f"Tower {number} is tall. " + "It has many windows on each side. " * 10
        (folder / f"tower{number}.txt").write_text(text)
    made = tmp_path_factory.mktemp("made") / "towers.rag"
    rag("index", "create", made, folder, "-q")
    return made


@pytest.fixture
def ask(collection: Path) -> Ask:
    def ask(*options: object) -> dict[str, Any]:
        done = rag("ask", collection, "tall tower", "--retriever", "lexical", "--json", *options)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return ask


def test_without_a_calibration_seconds_limit_no_tokens(ask: Ask) -> None:
    free, limited = ask(), ask("--budget-seconds", 60)
    assert limited["usage"]["input_tokens"] == free["usage"]["input_tokens"] > 0
    assert limited["notes"] == free["notes"]


def test_seconds_become_tokens_after_a_calibration(ask: Ask, echo: EchoLLM) -> None:
    whole = ask()["usage"]["input_tokens"]
    CostModel(computed=1.0).save(cost_model_path(echo))
    said = ask("--budget-seconds", whole - 1)
    assert 0 < said["usage"]["input_tokens"] < whole
    assert f"to be done in {whole - 1} s" in said["notes"][0]
    assert "passages left out for lack of room" in said["notes"][1]
    tighter = ask("--budget-seconds", whole - 1, "--budget-tokens", 0)
    assert tighter["usage"]["input_tokens"] == 0
    assert "to be done" not in tighter["notes"][0]


def test_the_note_is_shown(collection: Path, echo: EchoLLM) -> None:
    CostModel(overhead=5.0, computed=1.0).save(cost_model_path(echo))
    shown = rag("ask", collection, "tall tower", "--retriever", "lexical", "--budget-seconds", 1)
    assert "note: to be done in 1 s, the model reads 0 tokens at most" in shown.stdout


def test_a_broken_calibration_is_named(collection: Path, echo: EchoLLM) -> None:
    cost_model_path(echo).parent.mkdir(parents=True)
    cost_model_path(echo).write_text("{")
    asked = ("ask", collection, "tower", "--retriever", "lexical", "--budget-seconds", 1)
    assert "rag models calibrate" in rag(*asked, code=3).stderr

"""`rag cache` on a small real collection, with a tiny model."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rag.context import ApeSettings, ContextStore, calibration_examples
from rag.core.progress import Progress
from rag.core.templates import load_template
from rag.indexes import Collection
from rag.models import registry
from rag.testing import ScriptedLLM
from tests.cli.kept_passages import (
    FACTS,
    calibration_of,
    damage,
    rag,
    rag_json,
    store_of,
    write_facts,
)
from tests.models import conftest as models

make_model, tiny = models.make_model, models.tiny

COUNT = len(FACTS)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_facts(tmp_path_factory.mktemp("docs") / "facts")


@pytest.fixture(scope="module")
def made(facts: Path) -> Path:
    """A collection of which nothing is encoded."""
    path = facts.parent / "made.rag"
    rag("index", "create", path, facts)
    return path


@pytest.fixture(scope="module")
def built(made: Path, tiny: Path) -> tuple[Path, Any]:
    """A collection of which all is encoded, and what encoding it said."""
    path = shutil.copytree(made, made.with_name("built.rag"))
    return path, rag_json("cache", "build", path, "--llm", tiny)


@pytest.fixture
def own(built: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of that collection, to change."""
    return shutil.copytree(built[0], tmp_path / "own.rag")


@pytest.fixture
def bare(made: Path, tmp_path: Path) -> Path:
    """A copy of the collection of which nothing is encoded."""
    return shutil.copytree(made, tmp_path / "bare.rag")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    return folder


def write_prompt(folder: Path, **parts: str) -> None:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in parts.items()]
    (folder / "read.toml").write_text("".join(lines))


def entries(collection: Path) -> int:
    return store_of(collection / "contexts").info().entries


def test_a_dry_run_counts_and_writes_nothing(
    bare: Path, built: tuple[Path, Any], tiny: Path
) -> None:
    before = sorted(bare.rglob("*"))
    estimate = rag_json("cache", "build", bare, "--llm", tiny, "--dry-run")["estimate"]
    assert sorted(bare.rglob("*")) == before
    assert (estimate["passages"], estimate["there"]) == (COUNT, 0)
    said = built[1]
    assert estimate["tokens"] == said["estimate"]["tokens"] == said["tokens"]
    assert estimate["bytes"] < said["bytes"] < 1.2 * estimate["bytes"]
    shown = rag("cache", "build", bare, "--llm", tiny, "--dry-run").stdout
    assert f"{COUNT} passages to encode, 0 are there: {estimate['tokens']:,} tokens" in shown


def test_a_second_build_encodes_nothing(own: Path, tiny: Path) -> None:
    said = rag_json("cache", "build", own, "--llm", tiny)
    assert (said["encoded"], said["tokens"], said["dropped"]) == (0, 0, 0)
    assert said["estimate"]["there"] == COUNT
    done = rag("cache", "build", own, "--llm", tiny)
    assert f"0 encoded, {COUNT} were there, 0 dropped" in done.stdout
    assert "used once `rag cache calibrate` allows it" in done.stderr


def test_what_changed_is_dropped_and_encoded(own: Path, tiny: Path) -> None:
    with Collection.open(own, writable=True) as opened:
        changed = opened.document("facts/ferry.txt")
        opened.add([type(changed)(changed.id, "The ferry does not go in winter.")])
    said = rag_json("cache", "build", own, "--llm", tiny)
    assert (said["encoded"], said["dropped"]) == (1, 1)
    assert said["estimate"]["there"] == COUNT - 1
    assert entries(own) == COUNT


def test_the_index_drops_what_it_removes(own: Path, tmp_path: Path) -> None:
    assert rag_json("index", "remove", own, "facts/ferry.txt") == {
        "removed": 1, "contexts_dropped": 1,
    }  # fmt: skip
    assert entries(own) == COUNT - 1
    shown = rag("index", "remove", own, "facts/bridge.txt").stdout
    assert shown == "1 documents removed, 1 contexts dropped\n"
    facts = write_facts(tmp_path / "facts")
    (facts / "paris.txt").write_text("The tower in Paris is closed.")
    (facts / "lindau.txt").unlink()
    for name in ("ferry", "bridge"):
        (facts / f"{name}.txt").unlink()
    said = rag_json("index", "add", own, facts)
    # The library's document comes from another file now, but reads as before.
    assert (said["updated"], said["contexts_dropped"]) == (2, 1)
    shown = rag("index", "add", own, tmp_path / "facts", "--dry-run").stdout
    assert "contexts dropped" not in shown
    assert entries(own) == COUNT - 3


def test_add_prunes_what_is_gone_and_its_contexts(tmp_path: Path, tiny: Path) -> None:
    facts = write_facts(tmp_path / "facts")
    path = tmp_path / "docs.rag"
    rag("index", "create", path, facts)
    assert "contexts" not in rag("index", "add", path, facts).stdout
    rag("cache", "build", path, "--llm", tiny)
    (facts / "lindau.txt").unlink()
    assert (
        "removed 1, skipped 0, contexts dropped 1;"
        in rag("index", "add", path, facts, "--prune").stdout
    )
    assert entries(path) == COUNT - 1
    assert rag_json("index", "verify", path)["ok"]


def test_what_cannot_be_dropped_is_no_success(own: Path) -> None:
    with store_of(own / "contexts").writing():
        done = rag("index", "remove", own, "facts/ferry.txt", code=5)
    assert "what is encoded of them is still there" in done.stderr
    assert "held for writing" in done.stderr
    assert f"rag cache prune {own}" in done.stderr
    assert rag_json("cache", "prune", own)["dropped"] == 1


def test_prune_drops_what_is_gone_or_a_model_or_all(own: Path, tiny: Path) -> None:
    with Collection.open(own, writable=True) as opened:
        opened.remove(["facts/ferry.txt"])
    kept = rag_json("cache", "info", own)["models"][0]["bytes"]
    said = rag_json("cache", "prune", own)
    assert said["dropped"] == 1
    assert 0 < said["bytes"] < kept
    assert rag("cache", "prune", own).stdout == "0 contexts dropped, 0.0 MB\n"
    assert (
        "nothing is encoded for x in" in rag("cache", "prune", own, "--model", "x", code=3).stderr
    )
    rag("cache", "prune", own, "--model", "x", "--all", code=2)
    assert rag_json("cache", "prune", own, "--model", tiny)["dropped"] == COUNT - 1
    rag("cache", "build", own, "--llm", tiny)
    assert rag_json("cache", "prune", own, "--all")["dropped"] == COUNT - 1
    assert rag_json("cache", "info", own)["models"] == []


def test_verify_finds_and_removes_what_is_damaged(own: Path, tiny: Path) -> None:
    assert rag_json("cache", "verify", own)["entries"] == COUNT
    path = min(own.rglob("*.safetensors"))
    damage(path)
    done = rag("cache", "verify", own, code=5)
    assert f"{path}: its checksum differs (removed)" in done.stdout
    assert "1 files were damaged" in done.stderr
    assert rag_json("cache", "verify", own)["rejected"] == {}
    assert rag_json("cache", "build", own, "--llm", tiny)["encoded"] == 1


def test_info_needs_no_model(
    own: Path, bare: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load_llm", None)
    assert "nothing is encoded" in rag("cache", "info", bare).stdout
    (about,) = rag_json("cache", "info", own)["models"]
    assert (about["model"], about["entries"], about["int8"]) == (str(tiny), COUNT, 0)
    assert (about["encoded"], about["passages"], about["calibration"]) == (COUNT, COUNT, None)
    store = store_of(own / "contexts")
    store.record(calibration_of(store, ApeSettings(0.6, 0.9)))
    min(own.rglob("*.safetensors")).write_bytes(b"nothing")
    shown = rag("cache", "info", own).stdout
    assert f"{COUNT - 1} of {COUNT} are encoded" in shown
    assert "2026-01-31" in shown
    assert "at temperature 0.6, scale 0.9" in shown
    assert "1; `rag cache verify` removes them" in shown
    (store.path / "manifest.json").write_text("{}")
    assert "cannot be used: model: Field required" in rag("cache", "info", own).stdout


def test_a_build_goes_on_after_ctrl_c(
    bare: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupting(quiet: bool) -> Iterator[Progress]:
        def report(stage: str, done: int, total: int | None) -> None:
            if stage == "encoding passages":
                raise KeyboardInterrupt

        yield report

    monkeypatch.setattr("rag.cli.encoding._PORTION", 2)
    with monkeypatch.context() as patched:
        patched.setattr("rag.cli.cache_build.progress_bars", interrupting)
        done = rag("cache", "build", bare, "--llm", tiny, code=130)
        assert "the same command goes on" in done.stderr
    assert entries(bare) == 2
    said = rag_json("cache", "build", bare, "--llm", tiny)
    assert (said["estimate"]["there"], said["encoded"]) == (2, COUNT - 2)


def test_only_one_builds_at_a_time(own: Path, tiny: Path) -> None:
    with store_of(own / "contexts").writing():
        assert "held for writing" in rag("cache", "build", own, "--llm", tiny, code=5).stderr


def test_too_little_room_is_said_before_anything_is_encoded(
    bare: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(bare)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    done = rag("cache", "build", bare, "--llm", tiny, code=5)
    assert "0.0 MB are free; make room" in done.stderr
    assert not list(bare.rglob("*.safetensors"))


def test_passages_longer_than_the_window_are_named(bare: Path, tiny: Path) -> None:
    with Collection.open(bare, writable=True) as opened:
        ferry = opened.document("facts/ferry.txt")
        # Many tokens of a tokenizer that has learnt English, few of one that has learnt all.
        opened.add([type(ferry)("harbours", "港の塔は高い。" * 30)])
    done = rag("cache", "build", bare, "--llm", tiny, code=7)
    assert f"{COUNT} encoded, 0 were there" in done.stdout
    assert "harbours#" in done.stderr
    assert "longer than the model's window" in done.stderr


def test_other_folders_and_int8(bare: Path, tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "elsewhere"
    exact = rag_json("cache", "build", bare, "--llm", tiny, "--store", store)
    rounded = rag_json("cache", "build", bare, "--llm", tiny, "--store", store, "--int8")
    assert rounded["encoded"] == COUNT
    assert rounded["bytes"] < 2 * exact["bytes"]
    (about,) = rag_json("cache", "info", bare, "--store", store)["models"]
    assert (about["entries"], about["int8"], about["encoded"]) == (2 * COUNT, COUNT, COUNT)
    assert not (bare / "contexts").exists()
    store_of(store).record(calibration_of(store_of(store), ApeSettings()))
    done = rag("cache", "build", bare, "--llm", tiny, "--store", store, "--int8")
    assert "what was calibrated is not in int8" in done.stderr


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "'context' has {number}, as it does by default"),
        ({"context": "{text}", "system": "Asked is: {question}"}, "'system' has {question}"),
        ({"context": "{text}", "system": "Read {count} passages."}, "'system' has {count}"),
    ],
)
def test_prompts_that_show_passages_differently_are_refused(
    bare: Path, tiny: Path, prompts: Path, parts: dict[str, str], reason: str
) -> None:
    write_prompt(prompts, description="Own.", question="{question}", **parts)
    done = rag("cache", "build", bare, "--llm", tiny, "--prompts", prompts, code=3)
    assert f"{prompts / 'read.toml'}: passages cannot be kept encoded: {reason}" in done.stderr
    assert not (bare / "contexts").exists()


def test_what_is_built_with_own_prompts_is_kept_with_them(
    own: Path, tiny: Path, prompts: Path
) -> None:
    write_prompt(prompts, description="Own.", question="{question}", context="> {text}")
    said = rag_json("cache", "build", own, "--llm", tiny, "--prompts", prompts)
    # The shipped prompts show no passage in these words, but they no longer hold either.
    assert (said["encoded"], said["dropped"]) == (COUNT, COUNT)
    assert rag_json("index", "remove", own, "facts/ferry.txt")["contexts_dropped"] == 1
    assert rag_json("cache", "info", own)["models"][0]["encoded"] == COUNT - 1
    said = rag_json("cache", "build", own, "--llm", tiny)
    assert (said["encoded"], said["dropped"]) == (COUNT - 1, COUNT - 1)
    assert load_template("read", store_of(own / "contexts").path) == load_template("read")


def test_models_that_run_elsewhere_are_refused(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_llm", lambda name: ScriptedLLM([]))
    for command in ("build", "calibrate"):
        done = rag("cache", command, bare, code=4)
        assert "take a model that transformers runs in this process" in done.stderr
    assert not (bare / "contexts").exists()


def test_a_missing_collection_is_not_made(tmp_path: Path, tiny: Path) -> None:
    for command in ("build", "calibrate"):
        rag("cache", command, tmp_path / "none.rag", "--llm", tiny, code=5)
    for command in ("info", "prune", "verify"):
        rag("cache", command, tmp_path / "none.rag", code=5)
    assert not (tmp_path / "none.rag").exists()


@pytest.fixture
def few_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions to calibrate with, short enough for the tiny model."""
    texts = list(FACTS.values())
    questions = [
        {
            "question": f"What of {number}?",
            "answers": [texts[number % COUNT].split()[-1]],
            "kind": "single-hop",
            "passages": [
                {"id": str(each), "title": "", "text": texts[(number + each) % COUNT]}
                for each in range(2)
            ],
        }
        for number in range(8)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in questions))
    monkeypatch.setattr(calibration_examples, "CALIBRATION_SET", path)


@pytest.mark.usefixtures("few_questions")
def test_calibrating_records_what_it_found(own: Path, tiny: Path) -> None:
    shown = rag("cache", "calibrate", own, "--llm", tiny, "--minimum-share", 0.001).stdout
    assert "temperature 1, scale 1 " in shown
    assert "the last 3 in sequence" in shown
    assert "This is allowed" in shown
    assert store_of(own / "contexts").calibration["int8"] is False
    assert entries(own) == COUNT, "the questions' own passages are not kept"
    said = rag_json("cache", "calibrate", own, "--llm", tiny, "--minimum-share", 9, "--int8")
    assert said["allowed"] is None
    assert "not allowed" in said["explanation"]
    assert store_of(own / "contexts").calibration == said["calibration"]
    assert said["calibration"]["int8"] is True
    assert entries(own) == COUNT


@pytest.mark.usefixtures("few_questions")
def test_a_model_that_loses_too_much_is_refused(bare: Path, tiny: Path) -> None:
    shown = rag("cache", "calibrate", bare, "--llm", tiny, "--minimum-share", 9).stdout
    assert shown.endswith("Contexts are read in sequence.\n")
    done = rag("ask", bare, "How tall?", "--llm", tiny, "--contexts", "parallel", code=4)
    assert "read contexts in sequence" in done.stderr
    with ContextStore(bare / "contexts", str(tiny), store_of(bare / "contexts").revision).writing():
        assert "held" in rag("cache", "calibrate", bare, "--llm", tiny, code=5).stderr

"""`--contexts` of the commands in which a model reads passages, with a tiny model."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from rag.context import ApeSettings
from rag.models import registry
from rag.rerankers import registry as rerankers
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
TUNED = ApeSettings(0.6, 0.9)
PARALLEL = {
    "settings": {"temperature": 0.6, "scale": 0.9, "sequential": 0},
    "calibrated": "2026-01-31",
}
SEQUENTIAL = {"settings": None, "calibrated": ""}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A collection of which all is encoded, without a calibration."""
    folder = tmp_path_factory.mktemp("built")
    path = folder / "built.rag"
    rag("index", "create", path, write_facts(folder / "facts"))
    rag("cache", "build", path, "--llm", tiny)
    return path


@pytest.fixture
def uncalibrated(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "own.rag")


@pytest.fixture
def calibrated(uncalibrated: Path) -> Path:
    """A collection of which all is encoded, for a model that may read in parallel."""
    store = store_of(uncalibrated / "contexts")
    store.record(calibration_of(store, TUNED))
    return uncalibrated


@pytest.fixture
def ask(tiny: Path) -> Any:
    """A function that asks the tiny model about a collection."""

    def asked(collection: Path, *arguments: object, json: bool = True, code: int = 0) -> Any:
        run = rag_json if json else rag
        question = ("How tall is the tower?", "--retriever", "lexical", "--llm", tiny)
        return run("ask", collection, *question, *arguments, code=code)

    return asked


def files(collection: Path) -> set[Path]:
    return set((collection / "contexts").rglob("*.safetensors"))


@pytest.mark.parametrize("option", [(), ("--contexts", "parallel")])
def test_what_is_encoded_is_not_read_again(calibrated: Path, ask: Any, option: Any) -> None:
    before = files(calibrated)
    said = ask(calibrated, *option)
    assert said["contexts"] == PARALLEL
    used = said["usage"]
    # The instruction, the question, and the template's turns.
    assert used["cached_tokens"] > 0.4 * used["input_tokens"]
    assert files(calibrated) == before
    shown = ask(calibrated, *option, json=False).stdout
    assert "of them from caches" in shown
    assert "contexts: parallel, temperature 0.6, scale 0.9 (calibrated 2026-01-31)\n" in shown


def test_what_is_not_encoded_is_encoded_once(calibrated: Path, ask: Any) -> None:
    before = files(calibrated)
    rag("cache", "prune", calibrated, "--all")
    first = ask(calibrated)
    assert (first["contexts"], first["usage"]["cached_tokens"]) == (PARALLEL, 0)
    assert files(calibrated) < before
    assert ask(calibrated)["usage"]["cached_tokens"] > 0


def test_what_is_damaged_is_encoded_again(calibrated: Path, ask: Any) -> None:
    expected = ask(calibrated)
    for each in files(calibrated):
        damage(each)
    again = ask(calibrated)
    assert (again["text"], again["usage"]["cached_tokens"]) == (expected["text"], 0)
    assert ask(calibrated)["usage"] | {"seconds": 0} == expected["usage"] | {"seconds": 0}


def test_contexts_in_sequence_where_asked_for(calibrated: Path, ask: Any) -> None:
    said = ask(calibrated, "--contexts", "sequential")
    assert said["contexts"] == SEQUENTIAL
    assert (
        "contexts: sequential\n" in ask(calibrated, "--contexts", "sequential", json=False).stdout
    )


def test_without_a_calibration_contexts_are_read_in_sequence(
    uncalibrated: Path, ask: Any, tmp_path: Path
) -> None:
    assert ask(uncalibrated)["contexts"] == SEQUENTIAL
    done = ask(uncalibrated, "--contexts", "parallel", json=False, code=3)
    assert "no calibration of parallel encoding" in done.stderr
    assert "rag cache calibrate" in done.stderr


def test_a_calibration_that_refuses_is_heeded(uncalibrated: Path, ask: Any) -> None:
    store = store_of(uncalibrated / "contexts")
    store.record(calibration_of(store, TUNED, share=0.5))
    assert ask(uncalibrated)["contexts"] == SEQUENTIAL
    done = ask(uncalibrated, "--contexts", "parallel", json=False, code=4)
    assert "0.50" in done.stderr
    assert "read contexts in sequence" in done.stderr
    (store.path / "manifest.json").write_text("{broken")
    assert ask(uncalibrated)["contexts"] == SEQUENTIAL
    store.record({"int8": True})
    assert ask(uncalibrated)["contexts"] == SEQUENTIAL


def test_what_was_calibrated_in_int8_is_kept_in_int8(calibrated: Path, ask: Any) -> None:
    store = store_of(calibrated / "contexts")
    store.record({**calibration_of(store, ApeSettings(0.6, 0.9, 1)), "int8": True})
    shown = ask(calibrated, "--contexts", "parallel", json=False).stdout
    assert "scale 0.9, the last 1 in sequence (calibrated" in shown
    info = store.info()
    assert info.int8 == info.entries - COUNT == 1
    assert ask(calibrated)["usage"]["cached_tokens"] > 0


def test_own_prompts_that_number_passages_are_read_in_sequence(
    calibrated: Path, ask: Any, tmp_path: Path
) -> None:
    (tmp_path / "read.toml").write_text(
        'description = "Own."\ncontext = "[{number}] {text}"\nquestion = "{question}"'
    )
    before = files(calibrated)
    own = ("--prompts", tmp_path)
    assert ask(calibrated, *own)["contexts"] == SEQUENTIAL
    assert ask(calibrated, *own, "--contexts", "parallel")["contexts"] == PARALLEL
    assert files(calibrated) == before, "of no use to another question"


def test_models_that_run_elsewhere(calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_llm", lambda name: ScriptedLLM(lambda prompt: "33 metres."))
    question = ("ask", calibrated, "How tall is the tower?", "--retriever", "lexical")
    assert rag_json(*question)["contexts"] == SEQUENTIAL
    done = rag(*question, "--contexts", "parallel", code=4)
    assert "take a model that transformers runs" in done.stderr
    assert rag_json(*question, "--extractive")["contexts"] is None
    rag(*question, "--extractive", "--contexts", "parallel", code=2)


def test_candidates_of_query_likelihood_are_encoded_once(
    calibrated: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerankers, "load_llm", registry.load_llm)  # loaded once for all tests
    search = (
        "search", calibrated, "the tower of Lindau", "--retriever", "lexical", "--llm", tiny,
        "--rerank", "query-likelihood",
    )  # fmt: skip
    expected = rag_json(*search, "--contexts", "sequential")
    assert expected["contexts"] == SEQUENTIAL
    before = files(calibrated)
    first, second = rag_json(*search), rag_json(*search, "--contexts", "parallel")
    assert first["contexts"] == second["contexts"] == PARALLEL
    assert len(files(calibrated)) == len(before) + len(first["hits"])
    assert second["usage"]["cached_tokens"] > first["usage"]["cached_tokens"]
    for said in (first, second):
        assert [hit["passage"]["id"] for hit in said["hits"]] == [
            hit["passage"]["id"] for hit in expected["hits"]
        ]
    # They are no longer those of any passage only when that is gone.
    assert rag_json("cache", "prune", calibrated)["dropped"] == 0
    assert rag_json("index", "remove", calibrated, "facts/lindau.txt")["contexts_dropped"] == 2


def test_numbered_candidates_are_not_kept(
    calibrated: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerankers, "load_llm", registry.load_llm)
    before = files(calibrated)
    search = (
        "search", calibrated, "the tower", "--retriever", "lexical", "--llm", tiny,
        "--rerank", "full-first-token",
    )  # fmt: skip
    assert rag_json(*search)["contexts"] == SEQUENTIAL
    assert rag_json(*search, "--contexts", "parallel")["contexts"] == PARALLEL
    assert "contexts: parallel" in rag(*search, "--contexts", "parallel").stdout
    assert rag_json("search", calibrated, "the tower", "--retriever", "lexical")["contexts"] is None
    ask = ("ask", calibrated, "How tall?", *search[3:], "--contexts", "parallel")
    assert rag_json(*ask)["contexts"] == PARALLEL
    assert files(calibrated) == before
    done = rag(*search[:-1], "cross-encoder:x", "--contexts", "parallel", code=2)
    assert "cross-encoders read every passage together with the query" in done.stderr


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A data set of three short documents and one question."""
    folder = tmp_path / "few"
    (folder / "qrels").mkdir(parents=True)
    names = list(FACTS)[:3]
    corpus = [f'{{"_id": "{name}", "text": "{FACTS[name]}"}}\n' for name in names]
    (folder / "corpus.jsonl").write_text("".join(corpus))
    (folder / "queries.jsonl").write_text(
        '{"_id": "1", "text": "How tall is the tower?", "answers": ["33 metres"]}\n'
    )
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tlindau\t1\n")
    return folder


def test_data_sets_are_read_with_a_store(
    calibrated: Path, few: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerankers, "load_llm", registry.load_llm)
    store = ("--store", calibrated / "contexts")
    answers = ("eval", "answers", few, "--llm", tiny, "--no-cache", "--retriever", "lexical")
    assert rag_json(*answers)["contexts"] == SEQUENTIAL
    assert "needs --store" in rag(*answers, "--contexts", "parallel", code=2).stderr
    first, second = rag_json(*answers, *store), rag_json(*answers, *store)
    assert first["contexts"] == PARALLEL
    assert first["usage"]["cached_tokens"] < second["usage"]["cached_tokens"]
    assert "contexts: parallel" in rag(*answers, *store, "--contexts", "parallel").stdout

    run = tmp_path / "first.run"
    likelihood = ("--rerank", "query-likelihood", "--llm", tiny)
    retrieval = ("eval", "retrieval", few, "--retriever", "lexical", "--save", run)
    said = rag_json(*retrieval, *likelihood, *store)
    assert said["reranking"]["contexts"] == PARALLEL
    out = tmp_path / "out.run"
    rerank = ("rerank", few, out, "--run", run, "--llm", tiny, "-m", "query-likelihood")
    assert rag_json(*rerank)["contexts"] == SEQUENTIAL
    assert "needs --store" in rag(*rerank, "--contexts", "parallel", code=2).stderr
    said = rag_json(*rerank, *store)
    assert said["contexts"] == PARALLEL
    assert said["usage"]["cached_tokens"] > 0
    assert "contexts: parallel" in rag(*rerank, *store).stdout


def test_a_kept_collection_has_its_own_folder(few: Path, tiny: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.rag"
    answers = (
        "eval", "answers", few, "--llm", tiny, "--no-cache", "--retriever", "lexical",
        "--collection", kept,
    )  # fmt: skip
    assert rag_json(*answers)["contexts"] == SEQUENTIAL
    rag("cache", "build", kept, "--llm", tiny)
    store = store_of(kept / "contexts")
    store.record(calibration_of(store, TUNED))
    assert rag_json(*answers)["contexts"] == PARALLEL
    corpus = few / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("33 metres", "about 33 metres"))
    rag_json(*answers, "--contexts", "sequential")
    assert store.info().entries == 2, "the document has changed"

"""The commands on a small real folder, with the embedded models."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rag.allocation.fitted import FittedAllocation
from rag.cli import main
from rag.core.budgets import Budget
from rag.core.progress import Progress, silent
from rag.indexes import Collection
from rag.indexes.sources import Source
from tests.allocation.simulated import DRAG, observations, simulated

PAGES = Path(__file__).parents[2] / "examples" / "sqlite"


def rag(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def rag_json(*arguments: object, code: int = 0) -> Any:
    return json.loads(rag(*arguments, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pages with one broken file and one of no known format."""
    folder = tmp_path_factory.mktemp("docs") / "handbook"
    folder.mkdir()
    for name in ("mmap", "nulls", "zeroconf", "inmemorydb"):
        shutil.copy(PAGES / f"{name}.html", folder)
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (folder / "photo.raw").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A collection of that folder, and what making it said."""
    path = tmp_path_factory.mktemp("collection") / "docs.rag"
    return path, rag_json("index", "create", path, folder, "--passage-tokens", 128, code=7)


@pytest.fixture
def collection(made: tuple[Path, Any]) -> Path:
    return made[0]


@pytest.fixture
def own(collection: Path, tmp_path: Path) -> Path:
    """A copy of the collection, to change."""
    return shutil.copytree(collection, tmp_path / "own.rag")


def test_create_reports_what_it_did_and_what_it_skipped(made: tuple[Path, Any]) -> None:
    said = made[1]
    assert said["added"] == 4
    assert said["passages"] >= 8
    reasons = {Path(each["path"]).name: each["reason"] for each in said["skipped"]}
    assert set(reasons) == {"broken.pdf", "photo.raw"}
    assert all(reasons.values())


def test_create_refuses_to_write_over_a_collection(collection: Path, folder: Path) -> None:
    assert "there is a collection here" in rag("index", "create", collection, folder, code=5).stderr


def test_create_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = rag("index", "create", tmp_path / "docs.rag", tmp_path / "empty", code=3)
    assert "nothing to index" in done.stderr
    assert not (tmp_path / "docs.rag").exists()


def test_a_missing_path_is_an_input_error(tmp_path: Path) -> None:
    rag("index", "create", tmp_path / "docs.rag", tmp_path / "nowhere", code=3)


def test_an_unknown_model_names_what_was_tried(folder: Path, tmp_path: Path) -> None:
    done = rag("index", "create", tmp_path / "c", folder, "--embedder", "no-such-model", code=4)
    assert "no-such-model" in done.stderr


def test_dry_run_counts_and_writes_nothing(
    folder: Path, made: tuple[Path, Any], tmp_path: Path
) -> None:
    target = tmp_path / "docs.rag"
    said = rag_json("index", "create", target, folder, "--dry-run", "--passage-tokens", 128, code=7)
    assert said["files"] == 4
    assert said["passages"] == made[1]["passages"]
    assert 0 < said["tokens"] <= 128 * said["passages"]
    assert said["estimated_seconds"] > 0
    assert not target.exists()


def test_adding_again_embeds_nothing(own: Path, folder: Path) -> None:
    said = rag_json("index", "add", own, folder, code=7)
    assert (said["added"], said["updated"], said["unchanged"]) == (0, 0, 4)
    assert said["embedded"] == 0


def test_prune_removes_what_is_gone_and_only_that(own: Path, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "more")
    rag("index", "add", own, copy, code=7)
    (copy / "nulls.html").unlink()
    assert rag_json("index", "add", own, copy, code=7)["removed"] == []
    assert rag_json("index", "add", own, copy, "--prune", "--dry-run", code=7)["removed"] == [
        "more/nulls.html"
    ]
    assert rag_json("index", "add", own, copy, "--prune", code=7)["removed"] == ["more/nulls.html"]
    assert rag_json("index", "info", own)["documents"] == 7


def test_include_and_exclude(folder: Path) -> None:
    source = Source([folder], include=["*.html"], exclude=["n*"])
    names = {document.id for document in source.documents(silent)}
    assert names == {"handbook/mmap.html", "handbook/zeroconf.html", "handbook/inmemorydb.html"}
    assert source.skipped == []


@pytest.mark.parametrize("retriever", ["lexical", "dense", "hybrid"])
def test_search_finds_the_page(collection: Path, retriever: str) -> None:
    said = rag_json(
        "search", collection, "memory-mapped I/O", "--retriever", retriever, "--top-k", 3
    )
    assert len(said["hits"]) == 3
    assert said["hits"][0]["passage"]["document_id"] == "handbook/mmap.html"


def test_search_shows_title_place_and_text(collection: Path) -> None:
    shown = rag("search", collection, "zero configuration", "--retriever", "lexical").stdout
    assert "Zero-Configuration" in shown
    assert "zeroconf.html, characters" in shown


def test_search_filters(collection: Path) -> None:
    lexical = ("search", collection, "database", "--retriever", "lexical")
    assert rag_json(*lexical, "--where", '{"format": "html"}')["hits"]
    assert rag_json(*lexical, "--where", '{"format": "pdf"}')["hits"] == []
    assert rag(*lexical, "--where", '{"format": "pdf"}').stdout == "nothing found\n"
    assert "not JSON" in rag(*lexical, "--where", "{format", code=2).stderr
    assert "no operator" in rag(*lexical, "--where", '{"a": {"like": 1}}', code=3).stderr


def test_a_missing_collection_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in rag("search", tmp_path / "none", "x", code=5).stderr


def test_an_extractive_answer_quotes_stored_text(collection: Path) -> None:
    said = rag_json(
        "ask", collection, "How do I disable memory-mapped I/O?", "--extractive",
        "--retriever", "lexical",
    )  # fmt: skip
    assert said["text"]
    assert said["citations"]
    with Collection.open(collection) as opened:
        for each in said["citations"]:
            text = opened.document(each["document_id"]).text
            assert text[each["start"] : each["end"]] == each["quote"]


def test_an_answer_streams_and_shows_sources_and_cost(collection: Path) -> None:
    shown = rag("ask", collection, "How do I disable memory-mapped I/O?").stdout
    assert "tokens read" in shown
    assert shown.index("Sources") < shown.index("tokens read")


def test_a_budget_of_no_tokens_is_kept(collection: Path) -> None:
    said = rag_json("ask", collection, "What is a null?", "--budget-tokens", 0)
    assert said["usage"]["input_tokens"] == 0
    assert said["notes"]


def test_an_allocation_says_how_to_answer(collection: Path, tmp_path: Path) -> None:
    cells = [cell for cell in DRAG if cell[1].documents <= 2]
    fitted = FittedAllocation.fit(observations(simulated(8, cells=cells)))
    fitted.save(tmp_path / "model.json")
    ask = ("ask", collection, "How do I disable memory-mapped I/O?", "--retriever", "lexical")
    allocated = (*ask, "--allocation", tmp_path / "model.json")
    said = rag_json(*allocated, "--budget-tokens", 700)
    planned = fitted.plan(
        Budget(tokens=700), cells=[cell for cell in cells if not cell[1].examples]
    )
    assert said["notes"][0] == f"planned for the budget: DRAG {planned.allocation}"
    assert len(said["hits"]) == planned.allocation.documents > 0
    assert (said["usage"]["calls"], said["usage"]["input_tokens"] <= 700) == (1, True)
    shown = rag(*allocated, "--budget-tokens", 700).stdout
    assert shown.startswith(said["text"].split(" [")[0])
    assert f"note: {said['notes'][0]}" in shown
    assert (
        "nothing fits a budget of 3 tokens" in rag(*allocated, "--budget-tokens", 3, code=6).stderr
    )
    assert "needs a budget" in rag(*allocated, code=2).stderr
    assert "say otherwise" in rag(*allocated, "--extractive", "--budget-tokens", 9, code=2).stderr
    assert "are for --allocation" in rag(*ask, "--examples", tmp_path / "e", code=2).stderr
    missing = rag(*allocated, "--examples", tmp_path / "e", "--budget-tokens", 700, code=3)
    assert "no worked examples" in missing.stderr


def test_info_lists_counts_and_documents(collection: Path) -> None:
    assert rag_json("index", "info", collection)["documents"] == 4
    listed = rag_json("index", "info", collection, "--documents")["documents"]
    assert {each["id"] for each in listed} >= {"handbook/mmap.html", "handbook/nulls.html"}
    assert "all-MiniLM" in rag("index", "info", collection).stdout


def test_remove_by_id_and_by_filter(own: Path) -> None:
    assert rag_json("index", "remove", own, "handbook/mmap.html") == {"removed": 1}
    assert rag_json("index", "remove", own, "--where", '{"format": "html"}') == {"removed": 3}
    rag("index", "remove", own, code=2)
    rag("index", "remove", own, "x", "--where", '{"format": "html"}', code=2)


def test_ctrl_c_leaves_what_was_committed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt after the first committed batch, then go on from there."""

    @contextmanager
    def interrupting(quiet: bool) -> Iterator[Progress]:
        def report(stage: str, done: int, total: int | None) -> None:
            if stage == "documents":
                raise KeyboardInterrupt

        yield report

    target = tmp_path / "docs.rag"
    two = tmp_path / "two"
    two.mkdir()
    for name in ("nulls.html", "zeroconf.html"):
        shutil.copy(folder / name, two)
    with monkeypatch.context() as patched:
        patched.setattr("rag.indexes.indexing._BATCH_DOCUMENTS", 1)
        patched.setattr("rag.cli.indexing.progress_bars", interrupting)
        assert "rag index add" in rag("index", "create", target, two, code=130).stderr
    assert rag_json("index", "info", target)["documents"] == 1
    said = rag_json("index", "add", target, two)
    assert (said["added"], said["unchanged"]) == (1, 1)


def test_prompts_are_listed_shown_and_replaced(tmp_path: Path) -> None:
    names = {each["name"] for each in rag_json("prompts")["prompts"]}
    assert "read" in names
    shown = rag("prompts", "read").stdout
    (tmp_path / "read.toml").write_text(shown.replace("Answer the", "Reply to the"))
    assert "Reply to the" in rag("prompts", "read", "--prompts", tmp_path).stdout
    assert "no prompt template" in rag("prompts", "nothing", code=3).stderr


def test_export_and_import_give_the_same_collection(collection: Path, tmp_path: Path) -> None:
    exported = rag_json("index", "export", collection, tmp_path / "shards")
    imported = rag_json("index", "import", tmp_path / "shards", tmp_path / "again.rag")
    assert exported["path"] == str(tmp_path / "shards")
    assert exported["passages"] == imported["passages"] > 0
    query = ("memory-mapped I/O", "--retriever", "lexical")
    again = rag_json("search", tmp_path / "again.rag", *query)["hits"]
    assert again == rag_json("search", collection, *query)["hits"]


def test_verify_finds_and_repairs(own: Path) -> None:
    assert rag_json("index", "verify", own) == {"ok": True, "problems": [], "recall": None}
    rag_json("index", "compact", own)
    (index,) = own.glob("vectors-*")
    index.write_bytes(index.read_bytes()[:-100])
    shutil.rmtree(own / "lexical")
    assert rag_json("index", "verify", own, "--repair")["ok"]
    assert rag("index", "verify", own).stdout == "the collection is sound\n"


def test_models_are_listed() -> None:
    listed = {each["name"]: each["installed"] for each in rag_json("models")["models"]}
    assert listed == {"all-MiniLM-L6-v2": True, "SmolLM2-135M-Instruct": True}


def test_tune_states_the_recall_that_info_and_verify_show(own: Path, tmp_path: Path) -> None:
    assert "not asked" in rag("index", "info", own).stdout
    lines, dataset = tmp_path / "queries.txt", tmp_path / "queries.jsonl"
    tune = ("index", "tune", own, "--recall", 0.9, "--queries")
    lines.write_text("what is a null\n\nhow do I map memory\n" * 2)
    assert "2 different queries were given" in rag(*tune, lines, code=3).stderr
    questions = [f"what is said of {word}" for word in ("nulls", "maps", "files", "names")]
    lines.write_text("\n".join(questions))
    tuned = rag_json(*tune, lines)
    assert (tuned["recall"], tuned["measured"], tuned["queries"]) == (0.9, 1, 2)
    dataset.write_text(
        "".join(f'{{"id": "{n}", "text": "{text}"}}\n' for n, text in enumerate(questions))
    )
    recall = "0.9 asked for, 1.0000 measured on 2 queries"
    assert rag(*tune, dataset).stdout == f"Flat: every vector is compared: {recall}\n"
    assert recall in rag("index", "info", own).stdout
    found = rag("index", "verify", own).stdout
    assert "finds 1.000 of the 10 nearest passages, measured on 2 queries\n" in found
    assert rag_json("index", "verify", own)["recall"]["mean"] == 1


def test_create_tunes(tmp_path: Path) -> None:
    text = "The first says this. The second says that. The third says less. The fourth says more."
    (tmp_path / "notes.txt").write_text(text)
    options = ("--recall", 0.8, "--index", "hnsw")
    made = rag_json("index", "create", tmp_path / "c", tmp_path / "notes.txt", *options)
    assert (made["tuned"]["recall"], made["tuned"]["measured"]) == (0.8, 1)

"""`rag budget profile` on a few real questions."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from rag.allocation.store import ObservationStore
from rag.core.allocations import Allocation
from rag.core.answers import Step
from rag.core.worked_examples import WorkedExample, write_examples
from rag.evaluation import read_dataset
from rag.indexes import Collection
from rag.models import registry
from rag.testing import ScriptedLLM
from tests.cli.kept_passages import rag, rag_json
from tests.cli.questions import write_questions

GRID = "DRAG k=0,1; IterDRAG k=1"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("profile") / "hotpotqa", 0, 1)


@pytest.fixture(scope="module")
def kept(dataset: Path) -> Path:
    return dataset.with_name("kept.rag")


@pytest.fixture(scope="module")
def profiled(dataset: Path, kept: Path) -> tuple[Path, Any]:
    """A profile with the real model, and what making it said."""
    file = dataset.with_name("real.sqlite")
    said = rag_json("budget", "profile", dataset, file, *options(kept, GRID))
    return file, said


@pytest.fixture
def own(profiled: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of that profile, to change."""
    return shutil.copy(profiled[0], tmp_path / "own.sqlite")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedLLM:
    """A model that the commands load in place of any other."""
    llm = ScriptedLLM(lambda prompt: "Bath, Maine")
    monkeypatch.setattr(registry, "load_llm", lambda name: llm)
    return llm


def options(kept: Path, grid: str) -> tuple[object, ...]:
    return ("--retriever", "lexical", "--collection", kept, "--grid", grid)


def write_example(file: Path, kept: Path, question: str, *, steps: bool = False) -> Path:
    with Collection.open(kept) as collection:
        hits = tuple(collection.search_lexical(["music"], 2)[0])
    chain = (Step("Where?", "Here", hits),) if steps else ()
    write_examples(file, [WorkedExample(question, "Here", hits, chain)])
    return file


def test_all_cells_are_measured_and_said(profiled: tuple[Path, Any], dataset: Path) -> None:
    file, said = profiled
    rows = list(ObservationStore(file))
    cells = [("DRAG", Allocation(0)), ("DRAG", Allocation(1)), ("IterDRAG", Allocation(1))]
    assert [row.cell for row in rows] == [cell for cell in cells for _ in range(2)]
    assert {row.dataset for row in rows} == {"hotpotqa"}
    assert {row.query_id for row in rows} == {
        each.id for each in read_dataset(dataset, judged=False).queries
    }
    assert (said["measured"], said["known"], said["stopped"], said["failed"]) == (6, 0, "", {})
    for name in ("input_tokens", "output_tokens", "calls"):
        assert said["usage"][name] == sum(getattr(row, name) for row in rows)
    assert said["usage"]["calls"] <= said["estimate"]["calls"] == 2 * (1 + 1 + 3)
    assert all(row.confidence is not None for row in rows)


def test_a_second_run_measures_nothing(own: Path, dataset: Path, kept: Path) -> None:
    before = own.read_bytes()
    said = rag_json("budget", "profile", dataset, own, *options(kept, GRID))
    assert (said["measured"], said["known"], said["usage"]["calls"]) == (0, 6, 0)
    assert own.read_bytes() == before
    shown = rag("budget", "profile", dataset, own, *options(kept, GRID)).stdout
    assert "tokens to read" in shown
    assert "0 questions measured, 6 were already" in shown


def test_replies_that_were_kept_are_not_computed_again(
    profiled: tuple[Path, Any], dataset: Path, kept: Path, tmp_path: Path
) -> None:
    file, said = profiled
    replies = file.with_name("real.sqlite.replies")
    again = rag_json(
        "budget", "profile", dataset, tmp_path / "again", *options(kept, GRID), "--replies", replies
    )
    assert again["measured"] == 6
    assert again["usage"]["cache_hits"] == again["usage"]["calls"] == said["usage"]["calls"]
    assert again["usage"]["input_tokens"] == said["usage"]["input_tokens"]
    rows = zip(ObservationStore(file), ObservationStore(tmp_path / "again"), strict=True)
    assert all(first.answer == second.answer for first, second in rows)


def test_an_estimate_makes_no_file_and_asks_nothing(
    scripted: ScriptedLLM, dataset: Path, kept: Path, tmp_path: Path
) -> None:
    command = ("budget", "profile", dataset, tmp_path / "p", *options(kept, GRID), "--estimate")
    said = rag_json(*command)
    assert set(said) == {"estimate"}
    assert said["estimate"]["calls"] == 2 * (1 + 1 + 3)
    assert f"about {said['estimate']['input_tokens']:,} tokens to read" in rag(*command).stdout
    assert list(tmp_path.iterdir()) == []
    assert scripted.calls == []


def test_a_budget_stops_it_and_the_same_command_goes_on(
    scripted: ScriptedLLM, dataset: Path, kept: Path, tmp_path: Path
) -> None:
    command = ("budget", "profile", dataset, tmp_path / "p", *options(kept, "DRAG k=0,1"))
    done = rag(*command, "--budget-tokens", 1, code=7)
    assert "2 questions measured" in done.stdout
    assert "stopped: the budget of tokens is used up; the same command goes on" in done.stderr
    said = rag_json(*command, "--budget-seconds", 0, code=7)
    assert (said["measured"], said["known"]) == (0, 2)
    assert said["stopped"] == "the budget of seconds is used up"
    assert rag_json(*command)["measured"] == 2
    assert "has no prices" in rag(*command, "--budget-cost", 1, code=3).stderr


def test_cells_that_the_window_has_no_room_for_are_named(
    scripted: ScriptedLLM, dataset: Path, kept: Path, tmp_path: Path
) -> None:
    scripted.context_window = 200
    command = ("budget", "profile", dataset, tmp_path / "p", *options(kept, "DRAG k=0,5"))
    said = rag_json(*command, code=7)
    assert said["measured"] == 2
    ((cell, reason),) = said["failed"].items()
    assert cell == "DRAG k=5 m=0 n=1"
    assert "for lack of room" in reason
    shown = rag(*command, code=7).stdout
    assert "DRAG k=5 m=0 n=1" in shown
    assert "for lack of room" in shown


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("DRAG k=many", "'k=many' in the grid"),
        ("DRUG k=1", "the grid has DRUG k=1 m=0 n=1, but the strategies are DRAG, IterDRAG"),
        ("DRAG k=1 n=2", "asks no sub-questions: leave n out"),
        ("DRAG k=1 m=2", "but 0 worked examples are at hand; `rag examples build`"),
    ],
)
def test_a_grid_that_cannot_be_measured_is_refused(
    scripted: ScriptedLLM, dataset: Path, kept: Path, tmp_path: Path, grid: str, said: str
) -> None:
    done = rag("budget", "profile", dataset, tmp_path / "p", *options(kept, grid), code=3)
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_examples_have_to_suit_the_grid(
    profiled: tuple[Path, Any], scripted: ScriptedLLM, dataset: Path, kept: Path, tmp_path: Path
) -> None:
    example = write_example(tmp_path / "e.jsonl", kept, "Where is it?")
    profile = ("budget", "profile", dataset, tmp_path / "p", "--examples", example)
    done = rag(*profile, *options(kept, "IterDRAG k=1 m=1"), code=3)
    assert "0 worked examples with steps are at hand" in done.stderr
    done = rag(*profile, *options(kept, "DRAG k=3 m=1"), code=3)
    assert "worked examples have 2 passages" in done.stderr
    assert rag_json(*profile, *options(kept, "DRAG k=2 m=1"))["measured"] == 2
    write_example(example, kept, "Where is it?", steps=True)
    profile = ("budget", "profile", dataset, tmp_path / "q", "--examples", example)
    assert rag_json(*profile, *options(kept, "IterDRAG k=1 m=1"))["measured"] == 2


def test_examples_from_the_measured_questions_are_refused(
    profiled: tuple[Path, Any], dataset: Path, kept: Path, tmp_path: Path
) -> None:
    question = read_dataset(dataset, judged=False).queries[1]
    example = write_example(tmp_path / "e.jsonl", kept, question.text.upper())
    profile = ("budget", "profile", dataset, tmp_path / "p", "--examples", example)
    done = rag(*profile, *options(kept, "DRAG k=1 m=1"), code=3)
    assert f"is question {question.id} of the data set" in done.stderr


def test_what_was_measured_otherwise_does_not_come_into_the_same_file(
    profiled: tuple[Path, Any], scripted: ScriptedLLM, dataset: Path, kept: Path, tmp_path: Path
) -> None:
    first = write_example(tmp_path / "first.jsonl", kept, "Where is it?")
    other = write_example(tmp_path / "other.jsonl", kept, "Where are they?")
    file, grid = tmp_path / "p", options(kept, "DRAG k=1 m=0,1")
    profile = ("budget", "profile", dataset, file)
    rag(*profile, *grid, "--examples", first)
    done = rag(*profile, *grid, "--examples", other, code=3)
    assert "holds observations with examples of hotpotqa '" in done.stderr
    rag(*profile, *options(kept, "DRAG k=2"), "--examples", other)
    rag(*profile, *grid, "--name", "other", "--examples", other)
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    text = rag("prompts", "short_answer").stdout
    (prompts / "short_answer.toml").write_text(text + "\n# A comment changes no prompt.\n", "utf-8")
    rag(*profile, *grid, "--examples", first, "--prompts", prompts)
    (prompts / "short_answer.toml").write_text(text.replace("{reply}", "It is {reply}"), "utf-8")
    done = rag(*profile, *grid, "--examples", first, "--prompts", prompts, code=3)
    assert "prompt short_answer" in done.stderr
    scripted.revision = "2"
    assert "revision '1', not '2'" in rag(*profile, *grid, "--examples", first, code=3).stderr


def test_another_data_set_of_the_same_name_is_refused(
    own: Path, kept: Path, tmp_path: Path
) -> None:
    another = write_questions(tmp_path / "hotpotqa", 2)
    done = rag("budget", "profile", another, own, *options(tmp_path / "c", GRID), code=3)
    assert "of hotpotqa '" in done.stderr
    assert (
        rag_json(
            "budget", "profile", another, own, *options(tmp_path / "c", "DRAG"), "--name", "2"
        )["measured"]
        == 1
    )


def test_without_questions_there_is_nothing_to_measure(
    scripted: ScriptedLLM, dataset: Path, kept: Path, tmp_path: Path
) -> None:
    profile = ("budget", "profile", dataset, tmp_path / "p", *options(kept, "DRAG"))
    assert "no questions to measure" in rag(*profile, "--skip", 2, code=3).stderr
    assert rag_json(*profile, "--skip", 1)["measured"] == 1

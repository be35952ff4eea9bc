"""`rag examples` on a few real questions."""

import json
from pathlib import Path

import pytest

from rag.core.errors import CallFailed
from rag.core.generation import Prompt
from rag.core.worked_examples import read_examples
from rag.models import registry
from rag.pipelines.iter_drag import FINAL, FOLLOW_UP, INTERMEDIATE
from rag.testing import ScriptedLLM
from tests.cli.kept_passages import rag, rag_json
from tests.cli.questions import write_questions

LEXICAL = ("--retriever", "lexical")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(tmp_path_factory.mktemp("examples") / "hotpotqa", 5, 6, 7)


@pytest.fixture(scope="module")
def kept(training: Path) -> Path:
    return training.with_name("kept.rag")


def test_a_real_model_makes_examples_of_training_questions(training: Path, kept: Path) -> None:
    file = training.with_name("examples.jsonl")
    said = rag_json(
        "examples", "build", training, file, *LEXICAL, "--collection", kept, "--skip", 1,
        "--limit", 2, "--top-k", 1, "--steps", 1, "--documents", 4,
    )  # fmt: skip
    examples = read_examples(file)
    solved = sum(bool(each.steps) for each in examples)
    assert said == {"file": str(file), "examples": 2, "with_steps": solved, "failed": {}}
    assert {each.answer for each in examples} == {"2004", "Love and Theft"}
    assert all(len(each.hits) == 4 for each in examples)


def test_right_answers_become_examples_with_steps(
    training: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(prompt: Prompt) -> str:
        if prompt.reply_prefix.endswith((INTERMEDIATE, FINAL)):
            return "2004"
        return f"{FINAL} 2004" if prompt.reply_prefix else f"{FOLLOW_UP} Whose singer is it?"

    monkeypatch.setattr(registry, "load_llm", lambda name: ScriptedLLM(reply))
    file = training.with_name("scripted.jsonl")
    done = rag("examples", "build", training, file, *LEXICAL, "--collection", kept)
    assert done.stdout == f"{file}: 3 examples, 1 of them with steps\n"
    solved, *others = read_examples(file)
    assert [(step.question, step.answer) for step in solved.steps] == [
        ("Whose singer is it?", "2004")
    ]
    assert len(solved.steps[0].hits) == 5
    assert [each.steps for each in others] == [(), ()]


def test_questions_that_failed_are_named(
    training: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(prompt: Prompt) -> str:
        raise CallFailed("scripted", "no connection")

    monkeypatch.setattr(registry, "load_llm", lambda name: ScriptedLLM(reply))
    file = training.with_name("failed.jsonl")
    command = ("examples", "build", training, file, *LEXICAL, "--collection", kept, "--limit", 1)
    (question,) = rag_json(*command, code=7)["failed"].items()
    assert question[1] == "scripted: no connection"
    assert f"no steps for {question[0]}: scripted: no connection" in rag(*command, code=7).stderr
    assert len(read_examples(file)) == 1


def test_what_cannot_become_examples_is_an_input_error(training: Path, tmp_path: Path) -> None:
    build = ("examples", "build", training)
    assert "nowhere" in rag(*build, tmp_path / "nowhere" / "e.jsonl", code=3).stderr
    done = rag(*build, tmp_path / "e.jsonl", *LEXICAL, "--skip", 3, code=3)
    assert "there are no training questions" in done.stderr
    unanswered = write_questions(tmp_path / "unanswered", 5)
    question = json.loads((unanswered / "queries.jsonl").read_text("utf-8"))
    (unanswered / "queries.jsonl").write_text(json.dumps(question | {"answers": []}), "utf-8")
    done = rag("examples", "build", unanswered, tmp_path / "e.jsonl", *LEXICAL, code=3)
    assert f"training question {question['id']} has no accepted answer" in done.stderr
    assert not (tmp_path / "e.jsonl").exists()

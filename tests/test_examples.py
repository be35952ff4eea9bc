"""The examples run as they are."""

import runpy
import sys
from pathlib import Path

import pytest

from rag.testing import FixedRetriever, ScriptedLLM

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_ten_lines_answer_with_citations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "pond.md").write_text("# Pond\n\nThe pond is 412 metres long.\n")
    words = [str(tmp_path / "docs"), str(tmp_path / "docs.rag"), "How long is the pond?"]
    monkeypatch.setattr(sys, "argv", ["ten_lines.py", *words])
    runpy.run_path(str(EXAMPLES / "ten_lines.py"))
    shown = capsys.readouterr().out
    assert "[1] " in shown
    assert "The pond is 412 metres long" in shown
    assert "tokens read" in shown


def test_an_own_program_searches_for_both_queries_and_is_metered_by_stage() -> None:
    second_query = runpy.run_path(str(EXAMPLES / "own_program.py"))["SecondQuery"]
    retriever = FixedRetriever(["The pond is 412 metres long.", "Pike live in it."])
    llm = ScriptedLLM(["pond length", "It is 412 metres long."])
    answer = second_query(retriever, llm).answer("How long is the pond?")
    assert retriever.queries == ["How long is the pond?", "pond length"]
    assert answer.text == "It is 412 metres long. [1]"
    assert answer.citations[0].quote == "The pond is 412 metres long."
    assert [stage for stage, _ in answer.stages] == ["reword", "search", "read"]

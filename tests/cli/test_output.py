"""Tables, JSON and progress bars."""

import io
import json

import pytest

from rag.cli.output import print_json, print_table
from rag.cli.progress import progress_bars
from rag.core.answers import Answer, Citation
from rag.core.progress import silent
from rag.core.usage import Usage


def test_json_is_one_object_of_fields(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer("Größe [1]", (Citation(1, "p", "d", 0, 3, "abc"),), usage=Usage(5))
    print_json(answer)
    said = json.loads(capsys.readouterr().out)
    assert said["text"] == "Größe [1]"
    assert said["citations"][0]["quote"] == "abc"
    assert said["usage"]["input_tokens"] == 5


def test_json_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"score": float("nan")})


def test_a_table_keeps_long_cells_and_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    print_table(("name", "text"), [("a", f"[bold]{long}")])
    assert f"[bold]{long}" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_show_each_stage_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_bars() as progress:
        progress("embedding", 3, 10)
        progress("writing", 1, None)
    assert "embedding" in terminal.getvalue()
    assert "3/10" in terminal.getvalue()
    assert "writing" in terminal.getvalue()


@pytest.mark.parametrize(("stream", "quiet"), [(io.StringIO(), False), (Terminal(), True)])
def test_no_bars_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, quiet: bool
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bars(quiet) as progress:
        progress("embedding", 3, 10)
    assert progress is silent
    assert stream.getvalue() == ""

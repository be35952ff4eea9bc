import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rag.cli import main


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a COLLECTION, or give --web"),
        (["--web"], 2, "--web needs a search engine"),
        (["nowhere"], 5, "nowhere"),
        (["nowhere", "--pipeline", "guess"], 2, "guess"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAG_ENGINE", raising=False)
    ended = CliRunner().invoke(main, ["mcp", *arguments])
    assert ended.exit_code == code
    assert message in ended.stderr
    assert ended.stdout == ""


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    ended = CliRunner().invoke(main, ["mcp", "handbook"])
    assert ended.exit_code == 4
    assert "pip install 'ragmeter[mcp]'" in ended.stderr

"""`rag keys` makes, lists and revokes keys."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag.cli import main
from rag.service.database import Database
from rag.service.keys import Keys


def rag(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["keys", *(str(each) for each in arguments)])
    assert done.exit_code == code, done.output
    return done


def keys(data: Path) -> Keys:
    return Keys(Database(data / "service.sqlite"))


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    shown = rag(
        "create", "alice", "--scope", "read", "--scope", "write", "--collection", "Handbook",
        "--requests-per-minute", 60, "--tokens-per-day", 100000, "--data", tmp_path,
    ).stdout  # fmt: skip
    assert str(tmp_path) in shown
    (secret,) = (word for word in shown.split() if word.startswith("rag_"))
    key = keys(tmp_path).authenticate(secret)
    assert key
    assert key.scopes == ("read", "write")
    assert key.collections == ("handbook",)
    assert (key.requests_per_minute, key.tokens_per_day) == (60, 100_000)
    listed = rag("list", "--data", tmp_path).stdout
    assert secret not in listed
    for said in ("alice", "read, write", "handbook", "60", "100,000", key.id):
        assert said in listed
    assert "revoked" not in listed
    rag("revoke", "alice", "--data", tmp_path)
    assert keys(tmp_path).authenticate(secret) is None
    assert "revoked" in rag("list", "--data", tmp_path).stdout


def test_a_key_may_search_and_ask_unless_more_is_said(tmp_path: Path) -> None:
    made = json.loads(rag("create", "alice", "--data", tmp_path, "--json").stdout)
    assert made["key"]["scopes"] == ["read"]
    assert made["key"]["collections"] is None
    assert keys(tmp_path).authenticate(made["secret"])
    listed = rag("list", "--data", tmp_path, "--json").stdout
    assert made["secret"] not in listed
    assert json.loads(listed)["keys"] == [made["key"]]


def test_the_folder_is_where_the_service_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAG_SERVICE_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    rag("create", "alice")
    assert [key.name for key in keys(tmp_path / "share" / "ragmeter").list()] == ["alice"]
    monkeypatch.setenv("RAG_SERVICE_DATA", str(tmp_path / "elsewhere"))
    rag("create", "bob")
    assert [key.name for key in keys(tmp_path / "elsewhere").list()] == ["bob"]


def test_mistakes_are_named(tmp_path: Path) -> None:
    for command in (("list",), ("revoke", "alice")):
        said = rag(*command, "--data", tmp_path / "none", code=3).stderr
        assert "is no folder of a service" in said
    assert not (tmp_path / "none").exists()
    rag("create", "alice", "--data", tmp_path)
    assert "already" in rag("create", "alice", "--data", tmp_path, code=3).stderr
    assert "no key 'bob'" in rag("revoke", "bob", "--data", tmp_path, code=3).stderr
    assert "root" in rag("create", "x", "--scope", "root", "--data", tmp_path, code=2).stderr
    assert "not a name" in rag("create", "a b", "--data", tmp_path, code=3).stderr

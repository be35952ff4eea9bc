from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag.cli import main
from rag.indexes.milvus.collection import MilvusCollection
from rag.testing.embedders import HashEmbedder


def rag(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from milvus_lite.server_manager import server_manager_instance

    path = tmp_path_factory.mktemp("milvus") / "lite.db"
    yield f"milvus:{path}"
    server_manager_instance.release_server(str(path))


def test_commands_work_on_milvus_and_move_a_collection_there_and_back(
    milvus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = HashEmbedder(64)
    monkeypatch.setattr("rag.models.registry.load_embedder", lambda *_, **__: embedder)
    (tmp_path / "notes.md").write_text("# Otters\n\nOtters hold hands while they sleep.")
    place = f"{milvus}#notes"
    created = rag("index", "create", place, tmp_path, "--json")
    assert json.loads(created.stdout)["added"] == 1, created.output
    assert json.loads(rag("index", "add", place, tmp_path, "--json").stdout)["unchanged"] == 1
    found = rag("search", place, "sleeping otters", "--contexts", "sequential", "--json")
    assert "hold hands" in found.stdout, found.output
    info = json.loads(rag("index", "info", place, "--json").stdout)
    assert (info["path"], info["documents"]) == (place, 1)
    assert rag("index", "verify", place).exit_code == 0
    assert rag("index", "compact", place).exit_code == 0

    assert rag("index", "export", place, tmp_path / "export").exit_code == 0
    here = tmp_path / "here"
    assert "documents 1" in rag("index", "import", tmp_path / "export", here).stdout
    assert rag("index", "import", tmp_path / "export", f"{milvus}#again").exit_code == 0
    for location in (here, f"{milvus}#again"):
        assert "hold hands" in rag("search", location, "sleeping otters").stdout
    removed = rag("index", "remove", place, "--where", '{"format": {"exists": true}}', "--json")
    assert json.loads(removed.stdout)["removed"] == 1
    with MilvusCollection.open(place) as collection:
        assert collection.info().passages == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("index", "create", "{}#new", ".", "--recall", "0.9"), "--recall is for directories"),
        (("cache", "info", "{}#notes"), "works on a directory"),
        (("index", "info", "{}#none"), "create it first"),
        (("index", "info", "milvus:http://root:s3cret@host#docs"), "MILVUS_TOKEN"),
    ],
)
def test_what_does_not_work_on_milvus_says_so(
    milvus: str, arguments: tuple[str, ...], says: str
) -> None:
    result = rag(*(each.format(milvus) for each in arguments))
    assert result.exit_code != 0
    assert says in result.output
    assert "s3cret" not in result.output

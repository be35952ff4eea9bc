from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag.core.documents import Document
from rag.indexes import Collection, shards
from rag.indexes.bulk import _is_for
from rag.indexes.records import HASHES, DocumentRecord
from rag.indexes.shards import ShardPlan, ShardWriter, Unit, shards_in, units
from rag.indexes.transfer import Export
from rag.testing.embedders import HashEmbedder
from rag.text import FoundFile, find_files

EMBEDDER = HashEmbedder(64)
NOTHING = np.empty(0, HASHES)


@pytest.fixture
def plan(tmp_path: Path) -> ShardPlan:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        return ShardPlan(collection.manifest, tmp_path / "work", NOTHING)


def files(folder: Path, count: int, size: int = 10) -> list[FoundFile]:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:02}.txt").write_text(f"{number} " + "word " * size)
    return [each for each in find_files([folder]) if isinstance(each, FoundFile)]


def documents(plan: ShardPlan, names: tuple[str, ...]) -> list[str]:
    found = [plan.folder / name for name in names]
    return [doc.id for each in found for doc, _, _ in Export.read(each).contents(each)]


def test_units_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = files(tmp_path / "docs", 7)
    monkeypatch.setattr(shards, "_UNIT_FILES", 3)
    assert [(each.number, len(each.files)) for each in units(found)] == [(0, 3), (1, 3), (2, 1)]
    monkeypatch.setattr(shards, "_UNIT_BYTES", 100)
    assert [len(each.files) for each in units(found)] == [2, 2, 2, 1]
    # A file that is gone by now is said to be by the worker that reads it.
    (tmp_path / "docs" / "00.txt").unlink()
    assert sum(len(each.files) for each in units(found)) == 7
    assert list(units([])) == []


def test_shards_that_are_there_are_not_made_again(
    tmp_path: Path, plan: ShardPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_SHARD_DOCUMENTS", 2)
    unit = Unit(0, tuple(files(tmp_path / "docs", 5)))
    report = ShardWriter(EMBEDDER, plan).write(unit)
    assert documents(plan, report.shards) == [f"docs/{n:02}.txt" for n in range(5)]
    written = {each: each.stat().st_mtime_ns for each in plan.folder.glob("*/*")}
    assert len(written) == 9
    assert ShardWriter(EMBEDDER, plan).write(unit) == report
    assert {each: each.stat().st_mtime_ns for each in plan.folder.glob("*/*")} == written
    # Other text gives another shard, whatever the file is called.
    (tmp_path / "docs" / "04.txt").write_text("changed")
    changed = ShardWriter(EMBEDDER, plan).write(unit)
    assert changed.shards[:2] == report.shards[:2]
    assert changed.shards[2] != report.shards[2]


def test_a_shard_belongs_to_an_embedder_and_a_splitting(tmp_path: Path, plan: ShardPlan) -> None:
    unit = Unit(0, tuple(files(tmp_path / "docs", 1)))
    (name,) = ShardWriter(EMBEDDER, plan).write(unit).shards
    other = plan.manifest.model_copy(update={"overlap": 3})
    (another,) = ShardWriter(EMBEDDER, ShardPlan(other, plan.folder, NOTHING)).write(unit).shards
    assert name != another
    assert _is_for(plan.manifest, plan.folder / name)
    assert not _is_for(plan.manifest, plan.folder / another)
    # How the vectors are searched makes no difference to them.
    assert _is_for(plan.manifest.model_copy(update={"index": "ivf"}), plan.folder / name)
    (plan.folder / name / "export.json").unlink()
    assert not _is_for(plan.manifest, plan.folder / name)
    (plan.folder / another / "export.json").write_text("{")
    assert not _is_for(other, plan.folder / another)
    assert {each.name for each in shards_in(plan.folder)} == {name, another}


def test_what_the_collection_holds_is_passed_over(tmp_path: Path, plan: ShardPlan) -> None:
    unit = Unit(0, tuple(files(tmp_path / "docs", 3)))
    everything = ShardWriter(EMBEDDER, plan).write(unit)
    folder = plan.folder / everything.shards[0]
    stored = [document for document, _, _ in Export.read(folder).contents(folder)][:2]
    hashes = [DocumentRecord.of(each).content_hash for each in stored]
    known = ShardPlan(plan.manifest, plan.folder, np.sort(np.array(hashes, HASHES)))
    report = ShardWriter(EMBEDDER, known).write(unit)
    assert report.unchanged == 2
    assert documents(plan, report.shards) == ["docs/02.txt"]


def test_files_without_documents_are_named(tmp_path: Path, plan: ShardPlan) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (tmp_path / "lines.jsonl").write_text('{"text": "Terns dive."}\nnothing\n')
    found = [FoundFile(tmp_path / name, name) for name in ("broken.pdf", "lines.jsonl")]
    report = ShardWriter(EMBEDDER, plan).write(Unit(0, tuple(found)))
    assert [each.path.name for each in report.skipped] == ["broken.pdf", "lines.jsonl"]
    assert documents(plan, report.shards) == ["lines.jsonl:1"]


def test_tags_of_sensitivity_are_given_to_documents(tmp_path: Path, plan: ShardPlan) -> None:
    unit = Unit(0, tuple(files(tmp_path / "docs", 1)))
    tagged = ShardPlan(plan.manifest, plan.folder, NOTHING, ("public",))
    (name,) = ShardWriter(EMBEDDER, tagged).write(unit).shards
    ((document, passages, _),) = Export.read(plan.folder / name).contents(plan.folder / name)
    assert isinstance(document, Document)
    assert document.metadata["sensitivity"] == ["public"]
    assert passages[0].metadata == document.metadata

"""Bulk embedding on a local Ray cluster, against `Collection.add`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from subprocess import Popen
from typing import Any

import numpy as np
import pytest

from rag.core.documents import Document
from rag.core.errors import ModelError
from rag.indexes import Collection, shards
from rag.indexes.bulk import add_in_bulk
from rag.indexes.ray_workers import Workers, cluster
from rag.models.registry import load_embedder
from rag.testing.embedders import HashEmbedder
from rag.text import FoundFile, find_files, read_documents
from tests.indexes.bulk_embedders import POISON, REFUSED, FatalEmbedder, SlowEmbedder

EMBEDDER = HashEmbedder(64)
WORKERS = Workers(2)


@pytest.fixture(scope="module")
def _connected() -> Iterator[None]:
    with cluster(WORKERS, 0):
        yield


def write_files(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        text = f"Heron number {number} waits.\n\n" + "They share this text. " * 20
        (folder / f"{number:03}.txt").write_text(text)


def found(folder: Path) -> Iterator[FoundFile]:
    return (each for each in find_files([folder]) if isinstance(each, FoundFile))


def contents(collection: Collection) -> dict[str, Any]:
    """Return each document with its passages, and the vector of each text."""
    with collection._store.read() as snapshot:
        assert snapshot.counts().vectors == len(
            {each.text_hash for _, stored in snapshot.contents() for each in stored}
        )
        return {
            document.id: (document, [(each.passage, each.text_hash) for each in stored])
            for document, stored in snapshot.contents()
        }


def vectors(collection: Collection) -> dict[bytes, Any]:
    with collection._store.read() as snapshot:
        return {
            each.text_hash: np.frombuffer(each.vector, np.float16)
            for _, stored in snapshot.contents()
            for each in stored
            if each.text_hash is not None and each.vector is not None
        }


def assert_same(ours: Collection, folder: Path, tmp_path: Path) -> None:
    """Check that a collection is what adding the files makes."""
    with Collection.create(tmp_path / "expected", EMBEDDER) as expected:
        documents = (each for each in read_documents([folder]) if isinstance(each, Document))
        expected.add(documents)
        assert contents(ours) == contents(expected)
        there = vectors(expected)
        for text_hash, vector in vectors(ours).items():
            assert np.allclose(vector, there[text_hash], atol=1e-3)


@pytest.mark.usefixtures("_connected")
def test_killed_workers_leave_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shards, "_UNIT_FILES", 4)
    docs, work = tmp_path / "docs", tmp_path / "work"
    write_files(docs, 14)
    (docs / "004.txt").write_text(f"This one is {POISON} to whoever reads it.")
    (docs / "009.txt").write_text(f"This one is {REFUSED}.")
    load = partial(FatalEmbedder, tmp_path)
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        report = add_in_bulk(collection, found(docs), load, work, WORKERS)
        assert report.merged.added == 6
        # One worker died of nothing in particular, three of the poison.
        assert 4 <= report.restarts <= 5
        dead, refused = sorted(report.failed, key=lambda failed: failed.files)
        assert [path.name for path in dead.files] == [f"00{n}.txt" for n in range(4, 8)]
        assert "worker ended" in dead.reason
        assert [path.name for path in refused.files][1] == "009.txt"
        assert "refused" in refused.reason

        write_files(docs, 14)
        (docs / "000.txt").write_text("Changed.")
        again = add_in_bulk(collection, found(docs), load, work, WORKERS)
        assert (again.failed, again.skipped, again.restarts) == ([], [], 0)
        assert (again.merged.added, again.merged.updated, again.merged.unchanged) == (8, 1, 5)
        assert not work.exists()
        assert collection.verify().ok
        collection.compact()  # drops the vector of what was changed
        assert_same(collection, docs, tmp_path)
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("_connected")
def test_workers_that_cannot_load_the_embedder_say_why(tmp_path: Path) -> None:
    write_files(tmp_path / "docs", 1)
    load = partial(load_embedder, str(tmp_path / "no-model"), offline=True)
    with (
        Collection.create(tmp_path / "c", EMBEDDER) as collection,
        pytest.raises(ModelError, match="no-model"),
    ):
        add_in_bulk(collection, found(tmp_path / "docs"), load, tmp_path / "work", WORKERS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_drivers_leave_no_trace(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    docs, marks = tmp_path / "docs", tmp_path / "marks"
    marks.mkdir()
    write_files(docs, 300)
    Collection.create(tmp_path / "c", EMBEDDER).close()
    command = [sys.executable, "-m", "tests.indexes.test_bulk", str(tmp_path)]
    for _ in range(4):
        driver = Popen(command)
        pause_until_working(marks, driver)
        time.sleep(random.uniform(0, 3))
        if random.random() < 0.5:
            kill(random.choice([int(each.name) for each in marks.iterdir()]))
            time.sleep(random.uniform(0, 3))
        driver.kill()
        driver.wait()
        for mark in marks.iterdir():
            mark.unlink()
    assert Popen(command).wait() == 0
    with Collection.open(tmp_path / "c", EMBEDDER) as collection:
        assert collection.verify().ok
        assert_same(collection, docs, tmp_path)
    assert not (tmp_path / "work").exists()


def pause_until_working(marks: Path, driver: Popen[bytes]) -> None:
    while not any(marks.iterdir()):
        assert driver.poll() is None
        time.sleep(0.05)


def kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def main(folder: Path) -> None:
    """Add the files of a folder, with time to be killed in."""
    shards._UNIT_FILES = 8
    load = partial(SlowEmbedder, folder / "marks")
    with Collection.open(folder / "c", EMBEDDER, writable=True) as collection:
        report = add_in_bulk(collection, found(folder / "docs"), load, folder / "work", WORKERS)
    assert not report.failed


if __name__ == "__main__":
    main(Path(sys.argv[1]))

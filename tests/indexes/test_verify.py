from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rag.core.documents import Document, Passage
from rag.indexes import Collection
from rag.indexes.vectors import Kind
from rag.testing.embedders import HashEmbedder
from tests.indexes import topics

EMBEDDER = HashEmbedder(1024)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        collection.add(Document(f"d{n}", f"text number {n}", f"Title {n}") for n in range(20))
        yield collection


def break_store(collection: Collection, sql: str, *parameters: object) -> None:
    connection = sqlite3.connect(collection.path / "store.sqlite")
    connection.execute(sql, parameters)
    connection.commit()
    connection.close()


def test_a_sound_collection_has_no_problems(collection: Collection) -> None:
    report = collection.verify()
    assert report.problems == ()
    assert report.ok


@pytest.mark.parametrize(
    ("sql", "parameters", "reason"),
    [
        ('UPDATE passages SET start = start + 1, "end" = "end" + 1 WHERE id = 3', (), "place"),
        ("UPDATE documents SET text = 'other' WHERE id = 3", (), "place"),
        ("UPDATE passages SET heading = 'other' WHERE id = 3", (), "another text"),
        ("DELETE FROM vectors WHERE id = 3", (), "no vector"),
        ("UPDATE vectors SET vector = ? WHERE id = 3", (b"12",), "no vector"),
        ("DELETE FROM documents WHERE id = 3", (), "no row in documents"),
        (
            "UPDATE vectors SET vector = ? WHERE id = 3",
            (np.full(EMBEDDER.dimension, np.nan, np.float16).tobytes(),),
            "not finite",
        ),
    ],
)
def test_what_is_wrong_in_the_store_is_found(
    collection: Collection, sql: str, parameters: tuple[object, ...], reason: str
) -> None:
    break_store(collection, sql, *parameters)
    report = collection.verify(repair=True)
    store = [problem for problem in report.problems if problem.part == "store"]
    assert store
    assert all(reason in problem.reason for problem in store)
    assert not report.ok


def test_a_damaged_page_is_found(collection: Collection) -> None:
    collection.close()
    file = collection.path / "store.sqlite"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = b"\x7f" * 4096
    file.write_bytes(content)
    with Collection.open(collection.path, EMBEDDER) as damaged:
        report = damaged.verify()
        assert {problem.part for problem in report.problems} >= {"store"}


def drop_vector(collection: Collection) -> None:
    with collection._vectors.current() as (index, _):
        index.remove(np.array([5]))


def swap_vectors(collection: Collection) -> None:
    with collection._vectors.current() as (index, snapshot):
        ((ids, vectors),) = snapshot.added_vectors(0)
        index.remove(ids)
        index.add(ids, vectors[::-1].copy())


def drop_passage(collection: Collection) -> None:
    with collection._lexical.current() as (index, snapshot):
        index.update(add=[], remove=[5, 6], generation=snapshot.generation)
        index.close()


def add_passage(collection: Collection) -> None:
    with collection._lexical.current() as (index, snapshot):
        stray = Passage("x#0-1", "x", "x", 0, 1)
        index.update(add=[(99, stray)], remove=[], generation=snapshot.generation)
        index.close()


@pytest.mark.parametrize(
    ("harm", "part", "reason"),
    [
        (drop_vector, "vectors", "lacks 1 passages: 5"),
        (swap_vectors, "vectors", "other vectors"),
        (drop_passage, "lexical", "lacks 2 passages: 5, 6"),
        (add_passage, "lexical", "still holds 1 passages: 99"),
    ],
)
def test_an_index_that_differs_from_the_store_is_found_and_repaired(
    tmp_path: Path, harm: Callable[[Collection], None], part: str, reason: str
) -> None:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        collection.add(Document(f"d{n}", f"text number {n}") for n in range(20))
        # Into memory: what is mapped from a file is not written.
        collection.add([Document("one more", "more text")])
        collection.search_dense(["text"], 1)
        harm(collection)
        (problem,) = collection.verify().problems
        assert problem.part == part
        assert reason in problem.reason
        assert not problem.repaired
        report = collection.verify(repair=True)
        assert [each.repaired for each in report.problems] == [True]
        assert report.ok
        assert collection.verify().problems == ()


def clustered(path: Path) -> Collection:
    """Return a collection about the east, tuned for questions about the west."""
    collection = Collection.create(path, topics.EMBEDDER, index="ivf")
    collection.add(topics.documents("east", 400))
    collection.tune(0.8, queries=topics.questions("west", 200))
    return collection


def test_recall_that_falls_as_the_passages_change_is_found_and_repaired(tmp_path: Path) -> None:
    with clustered(tmp_path / "c") as collection:
        report = collection.verify()
        assert report.problems == ()
        assert report.recall is not None
        assert report.recall.mean == collection.manifest.tuned.measured  # type: ignore[union-attr]
        # Too few to be clustered anew.
        collection.add(topics.documents("west", 390))
        (problem,) = collection.verify().problems
        assert problem.part == "vectors"
        assert "of the 10 nearest where 0.8 was asked for" in problem.reason
        report = collection.verify(repair=True)
        assert [each.repaired for each in report.problems] == [True]
        assert report.recall is not None
        assert not report.recall.surely_misses(0.8)
        assert collection.manifest.tuned is not None
        assert collection.manifest.tuned.passages == 790
        assert collection.verify().problems == ()
    with Collection.open(tmp_path / "c", topics.EMBEDDER) as reader:
        assert reader.verify().problems == ()


def test_queries_that_are_gone_are_a_problem(tmp_path: Path) -> None:
    with clustered(tmp_path / "c") as collection:
        (tmp_path / "c" / "recall-queries.npy").unlink()
        for repair in (False, True):
            report = collection.verify(repair=repair)
            (problem,) = report.problems
            assert "recall-queries.npy is missing or damaged" in problem.reason
            assert not report.ok


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_approximate_vectors_that_are_not_the_stored_ones_are_found(
    tmp_path: Path, kind: Kind
) -> None:
    with Collection.create(tmp_path / "c", topics.EMBEDDER, index=kind, codes="int8") as collection:
        collection.add(topics.documents("east", 150))
        assert collection.verify().problems == ()
        with collection._vectors.current() as (index, snapshot):
            ((ids, vectors),) = snapshot.added_vectors(0)
            index.remove(ids[:15])
            index.add(ids[:15], vectors[15:30])
        (problem,) = collection.verify().problems
        assert "holds other vectors" in problem.reason

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.core.errors import InputError, ReadOnly, StorageError
from rag.indexes import Collection, Manifest
from rag.indexes.recall import exact_neighbours, find, recall_of
from rag.indexes.recall_queries import QUERIES_NAME, halves, kept_queries
from rag.indexes.vectors import Codes, Kind
from tests.indexes.topics import EMBEDDER, documents, questions

PASSAGES = 600


def create(path: Path, kind: Kind, codes: Codes = "float32") -> Collection:
    collection = Collection.create(path, EMBEDDER, index=kind, codes=codes)
    collection.add(documents("east", PASSAGES))
    return collection


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tuning") / "ivf"
    create(path, "ivf").close()
    return path


@pytest.fixture
def collection(made: Path, tmp_path: Path) -> Iterator[Collection]:
    """A collection of clusters, which has not been tuned."""
    path = shutil.copytree(made, tmp_path / "ivf")
    with Collection.open(path, EMBEDDER, writable=True) as collection:
        yield collection


def effort(collection: Collection) -> int:
    with collection._vectors.current() as (index, _):
        return index.effort


def test_the_least_effort_that_reaches_the_recall_is_chosen(collection: Collection) -> None:
    tuned = collection.tune(0.9)
    assert 0.9 - 0.05 < tuned.measured < 1
    assert (tuned.recall, tuned.queries, tuned.passages) == (0.9, 250, PASSAGES)
    assert tuned.oversampling == 1
    queries = kept_queries(collection.path, collection.manifest.codec)
    assert queries is not None
    by, _ = halves(len(queries))
    with collection._vectors.current() as (index, snapshot):
        assert tuned.index == index.description
        true = exact_neighbours(snapshot, queries[by], 10)
        recalls = []
        for each in (tuned.effort, tuned.effort - max(1, tuned.effort // 8)):
            index.effort = each
            recalls.append(recall_of(find(index, snapshot, queries[by]), true))
    assert [recall.surely_reaches(0.9) for recall in recalls] == [True, False]


def test_more_recall_takes_more_effort(collection: Collection) -> None:
    some, much, everything = (collection.tune(recall) for recall in (0.5, 0.95, 1.0))
    assert some.effort < much.effort < everything.effort
    assert some.measured < much.measured < everything.measured
    assert everything.measured > 0.99


def test_the_setting_is_in_use_and_kept(collection: Collection) -> None:
    before = effort(collection)
    tuned = collection.tune(0.7, queries=questions("east", 100))
    assert before != tuned.effort == effort(collection)
    assert collection.manifest.tuned == tuned
    assert collection.info().manifest.tuned == tuned
    with Collection.open(collection.path, EMBEDDER) as reader:
        assert reader.manifest.tuned == tuned
        assert effort(reader) == tuned.effort


def test_an_exact_index_takes_no_effort(tmp_path: Path) -> None:
    with create(tmp_path / "c", "flat") as collection:
        tuned = collection.tune(1.0)
    assert (tuned.effort, tuned.oversampling, tuned.measured) == (0, 1, 1)


def test_a_graph_is_tuned(tmp_path: Path) -> None:
    with create(tmp_path / "c", "hnsw") as collection:
        tuned = collection.tune(0.9)
        assert tuned.effort >= 10
        assert tuned.measured > 0.85
        assert effort(collection) == tuned.effort


def test_approximate_codes_are_scored_anew_more_often(tmp_path: Path) -> None:
    with create(tmp_path / "c", "flat", "int8") as collection:
        some, everything = collection.tune(0.5), collection.tune(1.0)
    assert (some.effort, some.oversampling) == (0, 1)
    assert everything.oversampling > 1
    assert everything.measured == pytest.approx(1, abs=0.01)


def test_a_recall_out_of_reach_is_refused(collection: Collection) -> None:
    before = collection.manifest
    with collection._vectors.current() as (index, snapshot):
        default = index.effort
        index.remove(snapshot.ids()[::2])
    with pytest.raises(InputError, match=r"finds 0.9 of the 10 nearest: the most it found is 0\."):
        collection.tune(0.9)
    assert effort(collection) == default
    assert collection.manifest == before == Manifest.read(collection.path)
    assert not (collection.path / QUERIES_NAME).exists()


def test_a_manifest_that_cannot_be_written_leaves_the_old_setting(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = collection.tune(0.7)

    def refuse(*_: object) -> None:
        raise StorageError(str(collection.path), "the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", refuse)
        with pytest.raises(StorageError):
            collection.tune(0.95, queries=questions("east", 100))
    assert Manifest.read(collection.path).tuned == collection.manifest.tuned == tuned
    assert effort(collection) == tuned.effort
    # By the newer queries, which are whole.
    report = collection.verify()
    assert report.recall is not None
    assert report.recall.queries == 50


@pytest.mark.parametrize("recall", [0.0, -1.0, 1.1, float("nan")])
def test_a_recall_is_a_share(collection: Collection, recall: float) -> None:
    with pytest.raises(InputError, match="at most 1"):
        collection.tune(recall)


def test_a_reader_does_not_tune(made: Path) -> None:
    with Collection.open(made, EMBEDDER) as reader, pytest.raises(ReadOnly):
        reader.tune(0.9)


def test_an_empty_collection_is_not_tuned(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", EMBEDDER) as empty, pytest.raises(InputError):
        empty.tune(0.9)


def test_progress_is_told_of_each_setting(collection: Collection) -> None:
    calls: list[tuple[str, int, int | None]] = []
    collection.tune(0.7, progress=lambda *call: calls.append(call))
    assert calls == [("tuning", number, None) for number in range(1, len(calls) + 1)]
    assert len(calls) > 1


def test_an_index_that_has_grown_is_tuned_again(collection: Collection) -> None:
    tuned = collection.tune(0.7)
    collection.add(documents("east", PASSAGES // 2, start=PASSAGES))
    assert collection.manifest.tuned == tuned
    collection.add(documents("east", PASSAGES, start=2 * PASSAGES))
    again = collection.manifest.tuned
    assert again is not None
    assert (again.recall, again.queries) == (0.7, tuned.queries)
    assert again.passages > 2 * PASSAGES
    assert Manifest.read(collection.path).tuned == again
    assert effort(collection) == again.effort


def test_an_index_that_is_built_anew_is_tuned_again(collection: Collection) -> None:
    tuned = collection.tune(0.7)
    collection.remove(each.id for each in documents("east", PASSAGES // 2))
    collection.compact()
    again = collection.manifest.tuned
    assert again is not None
    assert (again.recall, again.passages) == (0.7, PASSAGES // 2)
    assert again.index != tuned.index
    assert effort(collection) == again.effort


def test_without_its_queries_an_index_keeps_its_setting(collection: Collection) -> None:
    tuned = collection.tune(0.7)
    (collection.path / QUERIES_NAME).unlink()
    collection.compact()
    assert collection.manifest.tuned == tuned


def test_a_setting_of_another_index_is_not_used(collection: Collection) -> None:
    default = effort(collection)
    tuned = collection.tune(0.7)
    other = tuned.model_copy(update={"index": "IVF7,Flat"})
    collection.manifest.model_copy(update={"tuned": other}).write(collection.path)
    with Collection.open(collection.path, EMBEDDER) as reader:
        assert effort(reader) == default


def test_an_imported_collection_is_not_tuned(collection: Collection, tmp_path: Path) -> None:
    collection.tune(0.7)
    collection.export(tmp_path / "export")
    with Collection.import_(tmp_path / "export", tmp_path / "imported") as imported:
        assert imported.manifest.tuned is None
        assert imported.verify().problems == ()

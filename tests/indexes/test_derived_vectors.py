"""The vector index of a collection, mapped from a file with the changes since."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.core.documents import Document
from rag.core.errors import CollectionCorrupt
from rag.indexes import Collection
from rag.indexes.manifest import TunedIndex
from rag.indexes.overlay import Overlay
from rag.indexes.store import Store
from rag.indexes.vectors import cluster_count
from rag.testing.embedders import HashEmbedder

EMBEDDER = HashEmbedder(4096)
KINDS = [("flat", "float32"), ("flat", "int8"), ("hnsw", "float16"), ("ivf", "float32")]


def documents(numbers: Sequence[int]) -> list[Document]:
    return [Document(f"d{n}", f"common w{n}ord") for n in numbers]


def create(path: Path, count: int = 100, index: Any = "flat", codes: Any = "float32") -> Collection:
    collection = Collection.create(path, EMBEDDER, index=index, codes=codes)
    collection.add(documents(range(count)))
    return collection


def saved(collection: Collection) -> list[str]:
    return sorted(path.name for path in collection.path.glob("vectors-*"))


def nearest(collection: Collection, number: int) -> list[str]:
    (hits,) = collection.search_dense([f"w{number}ord"], 1)
    return [hit.passage.document_id for hit in hits]


@pytest.mark.parametrize(("index", "codes"), KINDS)
def test_changes_leave_the_saved_index_mapped(tmp_path: Path, index: Any, codes: Any) -> None:
    with (
        create(tmp_path / "c", 100, index, codes) as writer,
        Collection.open(tmp_path / "c", EMBEDDER) as reader,
    ):
        writer.add(documents([100, 101]))
        writer.remove(["d7"])
        for collection in (writer, reader):
            assert nearest(collection, 101) == ["d101"]
            assert nearest(collection, 7) != ["d7"]
            with collection._vectors.current() as (vectors, _):
                assert isinstance(vectors, Overlay)
                assert vectors.mapped
            assert collection.verify().problems == ()
        assert saved(writer) == ["vectors-1.faiss"]


@pytest.mark.parametrize(("index", "codes"), KINDS)
def test_too_many_changes_make_a_new_file(tmp_path: Path, index: Any, codes: Any) -> None:
    with (
        create(tmp_path / "c", 100, index, codes) as writer,
        Collection.open(tmp_path / "c", EMBEDDER) as reader,
    ):
        assert nearest(reader, 1) == ["d1"]
        writer.remove(["d1"])
        writer.add(documents(range(100, 110)))
        assert saved(writer) == ["vectors-3.faiss"]
        writer.add(documents([110]))
        for collection in (writer, reader):
            assert nearest(collection, 110) == ["d110"]
            # What was added before is read from the new file.
            assert collection._vectors._base == 3
            assert collection.verify().problems == ()


def test_a_flat_index_is_saved_without_being_held(tmp_path: Path) -> None:
    with create(tmp_path / "c") as writer:
        assert saved(writer) == ["vectors-1.faiss"]
        assert writer._vectors._index is None
        writer.remove(["d1"])
        writer.compact()
        assert saved(writer) == ["vectors-2.faiss"]
        assert writer._vectors._index is None


@pytest.mark.parametrize(("index", "codes"), KINDS)
def test_readers_have_a_saved_index_while_the_writer_compacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Any, codes: Any
) -> None:
    searched = []

    def vacuum(store: Store) -> None:
        with Collection.open(tmp_path / "c", EMBEDDER) as reader:
            searched.append(nearest(reader, 2))
            with reader._vectors.current() as (vectors, _):
                assert isinstance(vectors, Overlay)

    with create(tmp_path / "c", 100, index, codes) as writer:
        writer.remove(["d1"])
        monkeypatch.setattr(Store, "vacuum", vacuum)
        writer.compact()
    assert searched == [["d2"]]


def test_clusters_are_learnt_anew_once_there_should_be_more_than_twice_as_many(
    tmp_path: Path,
) -> None:
    with create(tmp_path / "c", 200, "ivf") as writer:
        for start in range(200, 460, 10):
            writer.add(documents(range(start, start + 10)))
            with writer._vectors.current() as (vectors, _):
                clusters = int(vectors.description.removeprefix("IVF").split(",")[0])
            assert cluster_count(start + 10, start + 10) <= 2 * clusters + 1
        assert clusters > 5


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_a_reader_keeps_the_file_that_it_maps(tmp_path: Path, index: Any) -> None:
    with (
        create(tmp_path / "c", 100, index) as writer,
        Collection.open(tmp_path / "c", EMBEDDER) as reader,
    ):
        with reader._vectors.current() as (vectors, _):
            writer.remove([f"d{n}" for n in range(50)])
            assert saved(writer) == ["vectors-2.faiss"]
            (hits,) = vectors.search(EMBEDDER.embed_queries(["w42ord"]), 1)
            assert hits.ids.tolist() == [43]
        assert nearest(reader, 42) != ["d42"]


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_damage_that_mapping_does_not_see_ends_with_the_next_file(
    tmp_path: Path, index: Any
) -> None:
    create(tmp_path / "c", 100, index).close()
    (file,) = (tmp_path / "c").glob("vectors-*")
    content = bytearray(file.read_bytes())
    vector = EMBEDDER.embed_passages(["common w42ord"])[0].astype(np.float16).astype(np.float32)
    place = content.index(vector.tobytes())
    content[place : place + len(vector.tobytes())] = bytes(len(vector.tobytes()))
    file.write_bytes(content)
    with Collection.open(tmp_path / "c", EMBEDDER, writable=True) as collection:
        assert nearest(collection, 42) != ["d42"]
        collection.add(documents(range(100, 120)))
        assert nearest(collection, 42) == ["d42"]
        assert collection.verify().problems == ()


def test_a_file_that_a_killed_writer_left_is_deleted(tmp_path: Path) -> None:
    with create(tmp_path / "c") as writer:
        (writer.path / "vectors-9.faiss.tmp").write_bytes(b"begun")
        writer.add(documents(range(100, 120)))
        assert saved(writer) == ["vectors-2.faiss"]


@pytest.mark.parametrize("mapped", [False, True])
def test_an_index_is_searched_as_it_was_tuned(tmp_path: Path, mapped: bool) -> None:
    create(tmp_path / "c", 100, "hnsw").close()
    if not mapped:
        next((tmp_path / "c").glob("vectors-*")).unlink()
    with Collection.open(tmp_path / "c", EMBEDDER) as reader:
        tuned = TunedIndex(
            recall=0.9,
            measured=0.95,
            queries=250,
            passages=100,
            index="HNSW32,Flat",
            effort=37,
            oversampling=1,
        )
        reader._vectors.manifest = reader.manifest.model_copy(update={"tuned": tuned})
        with reader._vectors.current() as (vectors, _):
            assert vectors.effort == 37
            assert vectors.mapped == mapped


def test_an_ivf_index_that_has_doubled_learns_new_clusters(tmp_path: Path) -> None:
    with (
        create(tmp_path / "c", 100, "ivf") as writer,
        Collection.open(tmp_path / "c", EMBEDDER) as reader,
    ):
        for collection in (reader, writer):
            with collection._vectors.current() as (vectors, _):
                assert vectors.description == "IVF2,Flat"
        writer.add(documents(range(100, 400)))
        for collection in (reader, writer):
            with collection._vectors.current() as (vectors, _):
                assert vectors.description == "IVF10,Flat"


def test_a_passage_without_a_vector_is_told_when_the_index_is_saved(tmp_path: Path) -> None:
    with create(tmp_path / "c") as writer:
        with writer._store.write() as transaction:
            transaction.execute("DELETE FROM vectors WHERE id = 5")
        with pytest.raises(CollectionCorrupt, match="119 vectors for 120 passages"):
            writer.add(documents(range(100, 120)))

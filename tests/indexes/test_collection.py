from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.core.documents import Document
from rag.core.errors import (
    CollectionError,
    CollectionExists,
    CollectionLocked,
    CollectionNotFound,
    FilterError,
    InputError,
    ManifestMismatch,
    ReadOnly,
    StorageError,
)
from rag.core.progress import silent
from rag.indexes import AddReport, Collection
from rag.indexes import indexing as indexing_module
from rag.testing.embedders import HashEmbedder

EMBEDDER = HashEmbedder(1000)


class CountingEmbedder(HashEmbedder):
    """Remembers what it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def embed_passages(self, texts: Any, progress: Any = silent) -> Any:
        self.seen += texts
        return super().embed_passages(texts, progress)


def word(n: int) -> str:
    """Return a word of its own for each number, which no analysis takes apart."""
    return "z" + "".join("bdfgklmnpr"[int(digit)] for digit in str(n)) + "x"


def documents(count: int, start: int = 0) -> list[Document]:
    return [
        Document(
            f"d{n}", f"{word(n)} common text", f"Title {n}", metadata={"n": n, "even": n % 2 == 0}
        )
        for n in range(start, start + count)
    ]


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        yield collection


def found(collection: Collection, query: str, top_k: int = 1, where: Any = None) -> list[list[str]]:
    """Return what each search finds, as names of documents."""
    return [
        [hit.passage.document_id for hit in search([query], top_k, where)[0]]
        for search in (collection.search_dense, collection.search_lexical)
    ]


def test_both_searches_find_what_was_added(collection: Collection) -> None:
    report = collection.add(documents(20))
    assert report == AddReport(added=20, passages=20, embedded=20)
    assert found(collection, word(7)) == [["d7"], ["d7"]]
    (hit,) = collection.search_dense([word(7)], 1)[0]
    assert hit.passage.metadata == {"n": 7, "even": False}
    assert hit.passage.title == "Title 7"
    assert (hit.scores, hit.ranks) == ({"dense": hit.score}, {"dense": 1})
    first, second = collection.search_lexical([word(3), f"{word(7)} {word(8)}"], 2)
    assert [each.passage.document_id for each in first] == ["d3"]
    assert {each.passage.document_id for each in second} == {"d7", "d8"}
    assert [each.ranks for each in second] == [{"lexical": 1}, {"lexical": 2}]


def test_an_empty_collection_finds_nothing(collection: Collection) -> None:
    assert found(collection, "word") == [[], []]
    assert collection.search_dense([], 3) == []
    assert collection.add([]) == AddReport()
    assert collection.verify().problems == ()


def test_adding_again_changes_nothing(collection: Collection) -> None:
    collection.add(documents(5))
    before = collection.info()
    assert collection.add(documents(5)) == AddReport(unchanged=5)
    assert collection.info() == before


def test_a_changed_document_replaces_the_old_one(collection: Collection) -> None:
    collection.add(documents(5))
    report = collection.add([replace(documents(5)[2], text="other words")])
    assert report == AddReport(updated=1, passages=1, embedded=1)
    assert found(collection, "other words") == [["d2"], ["d2"]]
    assert "d2" not in found(collection, word(2), 5)[1]
    assert len(found(collection, word(2), 9)[0]) == 5
    assert collection.document("d2").text == "other words"


def test_changed_metadata_embed_nothing(collection: Collection) -> None:
    collection.add(documents(5))
    report = collection.add([replace(documents(5)[2], metadata={"n": -1})])
    assert report == AddReport(updated=1, passages=1, reused=1)
    assert found(collection, word(2), 5, {"n": -1}) == [["d2"], ["d2"]]


def test_identical_texts_are_embedded_once(tmp_path: Path) -> None:
    embedder = CountingEmbedder()
    with Collection.create(tmp_path / "c", embedder) as collection:
        report = collection.add([Document(f"d{n}", "the same") for n in range(3)])
        assert report == AddReport(added=3, passages=3, embedded=1, reused=2)
        assert collection.add([Document("d3", "the same")]).reused == 1
        assert embedder.seen == ["the same"]
        assert collection.info().vectors == 1
        assert {len(names) for names in found(collection, "the same", 9)} == {4}


def test_documents_are_committed_in_batches(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing_module, "_BATCH_DOCUMENTS", 4)

    def interrupted() -> Iterator[Document]:
        yield from documents(10)
        raise KeyboardInterrupt

    told = []
    with pytest.raises(KeyboardInterrupt):
        collection.add(interrupted(), progress=lambda *report: told.append(report))
    assert [done for stage, done, _ in told if stage == "documents"] == [4, 8]
    assert ("embedding", 4, 4) in told
    assert collection.info().documents == 8
    assert found(collection, word(7)) == [["d7"], ["d7"]]
    assert collection.verify().problems == ()
    assert collection.add(documents(10)) == AddReport(2, 0, 8, 2, 2)


def test_a_document_that_comes_twice_is_there_as_it_came_last(collection: Collection) -> None:
    collection.add([Document("a", "first"), Document("a", "second")])
    assert collection.document("a").text == "second"
    assert found(collection, "first")[1] == []


def test_an_unusable_document_stops_its_batch_only(collection: Collection) -> None:
    collection.add(documents(2))
    with pytest.raises(InputError, match="'bad'"):
        collection.add([*documents(2, 2), Document("bad", "\ud800")])
    assert collection.info().documents == 2
    assert collection.verify().problems == ()


def test_documents_without_text_are_kept(collection: Collection) -> None:
    assert collection.add([Document("empty", "")]) == AddReport(added=1)
    assert collection.document("empty") == Document("empty", "")
    assert collection.verify().problems == ()


def test_removing_by_id_and_by_filter(collection: Collection) -> None:
    collection.add(documents(10))
    assert collection.remove(["d1", "unknown"]) == 1
    assert collection.remove(where={"n": {"gte": 8}}) == 2
    assert collection.info().documents == 7
    for removed in (word(1), word(9)):
        dense, lexical = found(collection, removed, 10)
        assert len(dense) == 7
        assert lexical == []
    with pytest.raises(InputError, match="d1"):
        collection.document("d1")
    assert collection.verify().problems == ()


def test_a_selective_filter_returns_as_many_as_match(collection: Collection) -> None:
    collection.add(documents(500))
    where = {"n": {"in": [3, 77, 400, 499]}}
    for names in found(collection, "common text", 3, where):
        assert len(names) == 3
        assert set(names) <= {"d3", "d77", "d400", "d499"}
    for names in found(collection, "common text", 10, where):
        assert set(names) == {"d3", "d77", "d400", "d499"}
    assert found(collection, "common", 10, {"n": -5}) == [[], []]


def test_a_filter_sees_later_changes(collection: Collection) -> None:
    collection.add(documents(4))
    assert len(found(collection, "common", 10, {"even": True})[0]) == 2
    collection.add(documents(2, 4))
    assert [len(names) for names in found(collection, "common", 10, {"even": True})] == [3, 3]


def test_each_batch_is_told_once_it_is_committed(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing_module, "_BATCH_DOCUMENTS", 2)
    collection.add(documents(1))
    reports = collection.add_batches(documents(5))
    first = next(reports)
    assert (first.added, first.unchanged) == (1, 1)
    assert collection.info().documents == 2
    assert [each.added for each in reports] == [2, 1]


def test_listing_documents_page_by_page(collection: Collection) -> None:
    collection.add(documents(5))
    names = [each.id for each in documents(5)]
    pages, after = [], 0
    while True:
        page, following = collection.document_page(2, after)
        pages.append([each.id for each in page])
        if following is None:
            break
        after = following
        collection.remove(names[3:4])  # where a page begins does not depend on what is there
    assert pages == [names[:2], [names[2], names[4]]]
    assert collection.document_page(2, 10**12) == ([], None)


def test_listing_documents(collection: Collection) -> None:
    collection.add(documents(4))
    listed = list(collection.documents({"even": True}))
    assert [(each.id, each.title, each.metadata["n"]) for each in listed] == [
        ("d0", "Title 0", 0),
        ("d2", "Title 2", 2),
    ]
    for each in collection.documents():
        collection.remove([each.id])
    assert list(collection.documents()) == []


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one_is_refused(collection: Collection, top_k: int) -> None:
    for search in (collection.search_dense, collection.search_lexical):
        with pytest.raises(InputError, match="top_k"):
            search(["x"], top_k)


def test_a_malformed_filter_is_refused(collection: Collection) -> None:
    for act in (collection.search_dense, collection.search_lexical):
        with pytest.raises(FilterError):
            act(["x"], 1, {"n": {"about": 3}})
    with pytest.raises(FilterError):
        collection.remove(where={"or": []})


def test_creating_twice_is_refused(collection: Collection) -> None:
    with pytest.raises(CollectionExists):
        Collection.create(collection.path, EMBEDDER)


def test_creating_where_something_else_lies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CollectionError, match=r"thesis\.txt"):
        Collection.create(tmp_path, EMBEDDER)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_creation_can_be_repeated(tmp_path: Path) -> None:
    with Collection.create(tmp_path, EMBEDDER) as collection:
        collection.add(documents(5))
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(CollectionNotFound):
        Collection.open(tmp_path)
    with Collection.create(tmp_path, EMBEDDER) as collection:
        assert collection.add(documents(1, 7)).added == 1
        assert found(collection, "common text", 9) == [["d7"], ["d7"]]


@pytest.mark.parametrize(
    "options",
    [
        {"index": "annoy"},
        {"vector_dtype": "int8"},
        {"passage_tokens": EMBEDDER.max_tokens + 1},
        {"passage_tokens": 1},
        {"overlap": EMBEDDER.max_tokens},
    ],
)
def test_unusable_options_create_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Collection.create(tmp_path / "c", EMBEDDER, **options)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "another"),
        ("revision", "another"),
        ("dimension", 3),
        ("max_tokens", 9),
        ("query_prefix", "q: "),
        ("passage_prefix", "p: "),
        ("pooling", "cls"),
        ("normalized", not EMBEDDER.normalized),
    ],
)
def test_another_embedder_is_refused(collection: Collection, field: str, value: object) -> None:
    other = HashEmbedder(1000)
    stored = getattr(other, field)
    other.__dict__[field] = value
    with pytest.raises(ManifestMismatch) as caught:
        Collection.open(collection.path, other)
    assert caught.value.field == f"embedder.{field}"
    assert (caught.value.stored, caught.value.given) == (stored, value)
    assert repr(stored) in str(caught.value)
    assert repr(value) in str(caught.value)


def test_a_second_writer_is_refused_by_the_holders_name(collection: Collection) -> None:
    script = (
        "import sys\n"
        "from rag.indexes import Collection\n"
        "from rag.core.errors import CollectionLocked\n"
        "try: Collection.open(sys.argv[1], writable=True)\n"
        "except CollectionLocked as error: print(error.holder)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(collection.path)], capture_output=True, text=True
    )
    assert f"process {os.getpid()} on" in ran.stdout, ran.stderr
    with pytest.raises(CollectionLocked, match=f"process {os.getpid()}"):
        Collection.open(collection.path, EMBEDDER, writable=True)
    collection.close()
    Collection.open(collection.path, EMBEDDER, writable=True).close()


def test_a_reader_does_not_write(collection: Collection) -> None:
    collection.add(documents(1))
    with Collection.open(collection.path, EMBEDDER) as reader:
        for write in (
            lambda: reader.add(documents(2)),
            lambda: reader.remove(["d0"]),
            reader.compact,
            lambda: reader.verify(repair=True),
        ):
            with pytest.raises(ReadOnly, match="for reading"):
                write()
        assert reader.info().documents == 1


@pytest.mark.parametrize(
    ("index", "codes"),
    [("flat", "float32"), ("flat", "int8"), ("hnsw", "float16"), ("ivf", "float32"), ("ivf", "pq")],
)
def test_readers_follow_the_writer(tmp_path: Path, index: Any, codes: Any) -> None:
    with (
        Collection.create(tmp_path / "c", EMBEDDER, index=index, codes=codes) as writer,
        Collection.open(tmp_path / "c", EMBEDDER) as reader,
    ):
        assert found(reader, word(1)) == [[], []]
        writer.add(documents(100))
        assert found(reader, word(42)) == [["d42"], ["d42"]]
        writer.add(documents(3, 100))
        writer.remove(["d42"])
        assert found(reader, word(102)) == [["d102"], ["d102"]]
        assert found(reader, word(42), where={"n": 42}) == [[], []]
        writer.compact()
        writer.add(documents(2, 103))
        assert found(reader, word(104)) == [["d104"], ["d104"]]
        assert reader.verify().problems == ()


def test_small_changes_do_not_save_the_vector_index_anew(collection: Collection) -> None:
    def saved() -> list[str]:
        return sorted(path.name for path in collection.path.glob("vectors-*"))

    collection.add(documents(100))
    assert saved() == ["vectors-1.faiss"]
    collection.add(documents(2, 100))
    assert saved() == ["vectors-1.faiss"]
    collection.add(documents(20, 102))
    assert saved() == ["vectors-3.faiss"]


def test_float32_keeps_vectors_exactly(tmp_path: Path) -> None:
    (expected,) = EMBEDDER.embed_passages(["three other words"])
    for dtype, exact in (("float32", True), ("float16", False)):
        with Collection.create(tmp_path / dtype, EMBEDDER, vector_dtype=dtype) as collection:
            collection.add([Document("a", "three other words")])
            with collection._store.read() as snapshot:
                ((_, (stored,)),) = snapshot.added_vectors(0)
        assert np.array_equal(stored, expected) is exact
        assert np.allclose(stored, expected, atol=1e-3)


def test_searching_in_threads_while_one_adds(collection: Collection) -> None:
    collection.add(documents(50))
    stop = threading.Event()
    errors: list[BaseException] = []
    searches = [0] * 3

    def search(number: int) -> None:
        try:
            while not stop.is_set():
                for names in found(collection, f"{word(7)} common", 5):
                    assert names[0] == "d7"
                    assert len(names) == 5
                # A document that is replaced over and over is always there exactly once.
                for names in found(collection, "moving", 100, {"moving": True}):
                    assert names in ([], ["moving"])
                searches[number] += 1
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            errors.append(error)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for n in range(15):
        moving = Document("moving", f"moving {n}", metadata={"moving": True})
        collection.add([*documents(5, 50 + 5 * n), moving])
        collection.remove([f"d{50 + 5 * n}"])
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert all(searches)
    assert collection.info().documents == 50 + 15 * 4 + 1
    assert collection.verify().problems == ()


def test_compacting_gives_room_back(collection: Collection) -> None:
    collection.add(documents(300))
    collection.remove(where={"n": {"gte": 10}})
    before = collection.info()
    collection.compact()
    after = collection.info()
    assert (before.vectors, after.vectors) == (300, 10)
    assert after.store_bytes < before.store_bytes
    assert after.documents == 10
    assert found(collection, word(3)) == [["d3"], ["d3"]]
    assert collection.verify().problems == ()


def test_readers_go_on_while_the_writer_compacts(collection: Collection) -> None:
    collection.add(documents(200))
    compacted = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            with Collection.open(collection.path, EMBEDDER) as reader:
                while not compacted.is_set():
                    assert found(reader, word(7)) == [["d7"], ["d7"]]
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        collection.compact()
    compacted.set()
    reader.join()
    assert not errors, errors


def test_info_needs_no_embedder(collection: Collection) -> None:
    collection.add(documents(30))
    with Collection.open(collection.path) as reader:
        info = reader.info()
        assert (info.documents, info.passages, info.vectors, info.generation) == (30, 30, 30, 1)
        assert min(info.store_bytes, info.vector_bytes, info.lexical_bytes) > 0
        assert info.manifest == collection.manifest
        assert reader.verify().problems == ()


def test_closing_twice_is_harmless_and_using_it_afterwards_is_an_error(
    collection: Collection,
) -> None:
    collection.close()
    collection.close()
    with pytest.raises(StorageError, match="closed"):
        collection.search_lexical(["x"], 1)

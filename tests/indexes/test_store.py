from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rag.core.documents import Document, Passage
from rag.core.errors import CollectionCorrupt, InputError, StorageError
from rag.indexes import snapshot as snapshot_module
from rag.indexes.records import DocumentRecord, VectorCodec
from rag.indexes.store import Store
from rag.indexes.transaction import Transaction

CODEC = VectorCodec("float16", 4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path, CODEC)
    yield store
    store.close()


def put(transaction: Transaction, name: str, text: str = "one two") -> None:
    """Store a document of two passages."""
    document = Document(name, text, f"title of {name}", f"file:{name}", {"name": name})
    cut = text.index(" ")
    passages = [
        Passage(f"{name}#{start}", name, text[start:end], start, end, "short", "a > b")
        for start, end in ((0, cut), (cut + 1, len(text)))
    ]
    hashes = [f"{name}{text}{number}".encode() for number in range(2)]
    ids = transaction.add_vectors(hashes, np.eye(4, dtype=np.float32)[:2])
    vector_ids = [ids[each] for each in hashes]
    transaction.add_documents([DocumentRecord.of(document)], [passages], [vector_ids])


def test_what_is_stored_comes_back(store: Store) -> None:
    with store.write() as transaction:
        put(transaction, "a")
    with store.read() as snapshot:
        assert snapshot.generation == 1
        assert snapshot.counts() == (1, 2, 2)
        assert snapshot.document("a") == Document(
            "a", "one two", "title of a", "file:a", {"name": "a"}
        )
        assert snapshot.document("b") is None
        assert snapshot.passages([2, 99]) == {
            2: Passage("a#4", "a", "two", 4, 7, "short", "a > b", "file:a", {"name": "a"})
        }
        ((ids, vectors),) = snapshot.added_vectors(0)
        assert ids.tolist() == [1, 2]
        assert np.array_equal(vectors, np.eye(4)[:2])
        assert vectors.dtype == np.float32


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        with store.write() as transaction:
            put(transaction, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as snapshot:
        assert (snapshot.generation, snapshot.counts().documents) == (0, 0)


def test_a_snapshot_does_not_move(store: Store) -> None:
    with store.read() as before, store.write() as transaction:
        put(transaction, "a")
        assert before.counts().documents == 0
    with store.read() as after:
        assert after.counts().documents == 1


def test_changes_since_a_generation(store: Store) -> None:
    for name in "abc":
        with store.write() as transaction:
            put(transaction, name)
    with store.write() as transaction:
        assert transaction.remove_documents(["a", "nothing"]) == 1
    with store.read() as snapshot:
        assert snapshot.generation == 4
        assert snapshot.removed(3).tolist() == [1, 2]
        assert snapshot.removed(4).tolist() == []
        assert [number for number, _ in snapshot.added(1)] == [3, 4, 5, 6]
        assert snapshot.count_added(2) == 2
        assert snapshot.ids().tolist() == [3, 4, 5, 6]


def test_vectors_are_read_a_batch_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "_BATCH", 4)
    with store.write() as transaction:
        for name in "abcde":
            put(transaction, name)
    with store.read() as snapshot:
        sizes = [(len(ids), len(vectors)) for ids, vectors in snapshot.added_vectors(0)]
        assert sizes == [(4, 4), (4, 4), (2, 2)]
        ids, vectors = snapshot.sample_vectors(5)
        assert (len(set(ids)), vectors.shape) == (5, (5, 4))


def test_ids_are_never_used_again(store: Store) -> None:
    with store.write() as transaction:
        put(transaction, "a")
    with store.write() as transaction:
        transaction.remove_documents(["a"])
        transaction.prune()
    store.vacuum()
    with store.write() as transaction:
        put(transaction, "b")
    with store.read() as snapshot:
        assert snapshot.ids().tolist() == [3, 4]


def test_pruning_drops_unused_vectors_and_the_list_of_what_was_removed(store: Store) -> None:
    for name in "ab":
        with store.write() as transaction:
            put(transaction, name)
    with store.write() as transaction:
        transaction.remove_documents(["a"])
        assert transaction.counts().vectors == 4
    with store.write() as transaction:
        transaction.prune()
    with store.read() as snapshot:
        assert snapshot.counts() == (1, 2, 2)
        assert (snapshot.pruned, snapshot.generation) == (3, 4)
        assert snapshot.removed(0).tolist() == []


def test_removed_documents_leave_no_rows_behind(store: Store) -> None:
    with store.write() as transaction:
        put(transaction, "a")
    with store.write() as transaction:
        transaction.remove_documents(["a"])
    with store.read() as snapshot:
        for table in ("documents", "passages", "fields"):
            assert snapshot.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.parametrize(
    "document",
    [
        Document("a", "half a pair: \ud800"),
        Document("a", "", metadata={"n": float("nan")}),
        Document("a", "", metadata={"n": 2**63}),
        Document("a", "", metadata={"n": [[1]]}),  # type: ignore[list-item]
        Document("a", "", metadata={"n": {"x": 1}}),  # type: ignore[dict-item]
        Document("a", "", metadata={1: "x"}),  # type: ignore[dict-item]
    ],
)
def test_a_document_that_would_not_come_back_as_it_is_is_refused(document: Document) -> None:
    with pytest.raises(InputError, match="document 'a'"):
        DocumentRecord.of(document)


def test_the_content_hash_covers_all_that_comes_back() -> None:
    base = Document("a", "text", "title", "uri", {"x": 1, "y": [True]})
    same = Document("a", "text", "title", "uri", {"y": [True], "x": 1})
    others = [
        Document("b", "text", "title", "uri", {"x": 1, "y": [True]}),
        Document("a", "texttitle", "", "uri", {"x": 1, "y": [True]}),
        Document("a", "text", "title", "ur", {"x": 1, "y": [True]}),
        Document("a", "text", "title", "uri", {"x": "1", "y": [True]}),
        Document("a", "text", "title", "uri", {"x": 1, "y": [1]}),
    ]
    hashes = {DocumentRecord.of(each).content_hash for each in [base, *others]}
    assert len(hashes) == 6
    assert DocumentRecord.of(same).content_hash in hashes


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((1, 5), np.float32),
        np.full((1, 4), np.nan, np.float32),
        np.full((1, 4), 1e6, np.float32),  # infinite in float16
        np.full((1, 4), -np.inf, np.float32),
    ],
)
def test_vectors_that_could_not_be_searched_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(InputError):
        CODEC.encode(vectors)


def test_a_vector_of_the_wrong_length_is_corruption() -> None:
    with pytest.raises(CollectionCorrupt):
        CODEC.decode([b"1234567"], "path")


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StorageError, match="closed"), store.read():
        pass


def test_a_missing_or_foreign_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Store(tmp_path, CODEC)
    (tmp_path / "store.sqlite").write_bytes(b"not a database " * 1000)
    with pytest.raises(CollectionCorrupt, match="not a database"):
        Store(tmp_path, CODEC)


def test_every_commit_reaches_the_disk(store: Store) -> None:
    with store.read() as snapshot:
        assert snapshot.execute("PRAGMA synchronous").fetchone() == (2,)
        assert snapshot.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_filling_the_disk_leaves_what_was_committed(store: Store, tmp_path: Path) -> None:
    with store.write() as transaction:
        put(transaction, "a")
        # SQLite refuses to grow the file, as it does when the disk is full.
        transaction.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StorageError, match="full"), store.write() as transaction:
        put(transaction, "b", "x " + "y" * 500_000)
    with store.read() as snapshot:
        assert snapshot.document("a") is not None
        assert snapshot.document("b") is None
    outside = sqlite3.connect(tmp_path / "store.sqlite")
    assert outside.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    outside.close()

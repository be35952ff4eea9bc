from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.core.documents import Document
from rag.core.errors import CollectionExists, InputError, StorageError
from rag.indexes import Collection, open_collection
from rag.indexes.milvus import client as milvus_client_module
from rag.indexes.milvus.collection import MilvusCollection
from rag.indexes.milvus.rows import key_of
from rag.indexes.milvus.schema import DOCUMENTS, PASSAGES
from rag.retrievers import DenseRetriever, HybridRetriever, LexicalRetriever
from rag.testing.collection_conformance import EMBEDDER, documents, word

_NUMBERS = count()


@pytest.fixture
def location(milvus_lite: str) -> str:
    return f"{milvus_lite}#collection_{next(_NUMBERS)}"


@pytest.fixture
def collection(location: str) -> Iterator[MilvusCollection]:
    with MilvusCollection.create(location, EMBEDDER) as collection:
        yield collection


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("survived", range(5))
def test_a_change_that_was_cut_short_is_mended_by_making_it_again(
    collection: MilvusCollection, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    collection.add(documents(4))
    changed = [Document("d1", "changed text, now"), Document("new", "quite new")]
    call, writes = milvus_client_module.Connection.call, count()

    def until_killed(self: Any, method: str, table: str, **arguments: Any) -> Any:
        if method in ("insert", "delete") and next(writes) >= survived:
            raise Killed
        return call(self, method, table, **arguments)

    monkeypatch.setattr(milvus_client_module.Connection, "call", until_killed)
    if survived < 4:
        with pytest.raises(Killed):
            collection.add(changed)
    else:
        collection.add(changed)
    monkeypatch.undo()
    names = [each.id for each in collection.documents()]
    assert len(names) == len(set(names))
    collection.add(changed)
    assert collection.verify().problems == ()
    info = collection.info()
    assert (info.documents, info.passages) == (5, 5)
    (hits,) = collection.search_dense(["changed text"], 9)
    assert hits[0].passage.text == "changed text, now"
    assert len(hits) == 5


@pytest.mark.parametrize("where", [None, {"n": {"lt": 2}}])
def test_a_removal_that_was_cut_short_is_mended_by_making_it_again(
    collection: MilvusCollection, monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    collection.add(documents(4))
    arguments: dict[str, Any] = {"where": where} if where else {"document_ids": ["d0", "d1"]}
    call = milvus_client_module.Connection.call

    def until_killed(self: Any, method: str, table: str, **arguments: Any) -> Any:
        if method == "delete" and table == PASSAGES:
            raise Killed
        return call(self, method, table, **arguments)

    monkeypatch.setattr(milvus_client_module.Connection, "call", until_killed)
    with pytest.raises(Killed):
        collection.remove(**arguments)
    monkeypatch.undo()
    (problem,) = collection.verify().problems
    assert "2 passages" in problem.reason
    collection.remove(**arguments)
    assert collection.verify().problems == ()
    assert collection.info().passages == 2


def test_verify_finds_what_is_left_behind_and_removes_it(collection: MilvusCollection) -> None:
    collection.add(documents(4))
    connection = collection._store._connection
    rows = connection.call("query", DOCUMENTS, filter="number >= 0", output_fields=["*"], limit=9)
    by_id = {row["id"]: row for row in rows}
    connection.call("delete", DOCUMENTS, filter=f'key in ["{key_of("d0")}"]')
    again = {**by_id["d1"], "number": by_id["d1"]["number"] + 10**9}
    connection.call("insert", DOCUMENTS, data=[again])
    report = collection.verify()
    assert not report.ok
    assert {each.part for each in report.problems} == {"store"}
    assert [each.id for each in collection.documents()] == ["d2", "d3", "d1"]
    repaired = collection.verify(repair=True)
    assert [each.reason for each in repaired.problems if not each.repaired] == [
        "holds 0 of 1 passages of document 'd1'; remove it and add it again"
    ]
    assert collection.remove(["d1"]) == 1
    assert collection.verify().problems == ()
    assert collection.info().passages == 2


@pytest.mark.parametrize(
    ("index", "codes"),
    [("flat", "int8"), ("hnsw", "float32"), ("hnsw", "int8"), ("ivf", "float32"), ("ivf", "int8")],
)
def test_every_index_finds_the_nearest(location: str, index: Any, codes: Any) -> None:
    with MilvusCollection.create(location, EMBEDDER, index=index, codes=codes) as collection:
        collection.add(documents(200))
        found = collection.search_dense([word(7), word(3)], 1)
        assert [hits[0].passage.document_id for hits in found] == ["d7", "d3"]
        assert collection.manifest.index == index


def test_retrievers_find_the_same_in_both_kinds_of_collection(
    tmp_path: Path, location: str
) -> None:
    rng = np.random.default_rng(0)
    vocabulary = [word(number) for number in range(60)]
    rows = [
        Document(f"d{n}", " ".join(rng.choice(vocabulary, 12)), metadata={"n": n})
        for n in range(80)
    ]
    queries = [" ".join(rng.choice(vocabulary, 3)) for _ in range(10)]
    with Collection.create(tmp_path / "c", EMBEDDER, vector_dtype="float32") as ours:
        ours.add(rows)
        ours.export(tmp_path / "export")
        with MilvusCollection.import_(tmp_path / "export", location):
            pass
        with open_collection(location, EMBEDDER) as theirs:
            # Equal scores come in any order, and Milvus Lite takes another k1.
            for kind, tolerance in ((DenseRetriever, 1e-4), (LexicalRetriever, 0.06)):
                for one, other in zip(
                    kind(ours).search_many(queries, 10),
                    kind(theirs).search_many(queries, 10),
                    strict=True,
                ):
                    expected = [hit.score for hit in one]
                    assert [hit.score for hit in other] == pytest.approx(expected, rel=tolerance)
            for hits in HybridRetriever(theirs).search_many(queries, 10, {"n": {"gte": 40}}):
                assert len(hits) == 10
                assert all(int(hit.passage.document_id[1:]) >= 40 for hit in hits)
                assert any(len(hit.ranks) == 2 for hit in hits)


def test_what_is_too_long_for_milvus_is_refused_and_nothing_written(
    collection: MilvusCollection,
) -> None:
    for document, reason in (
        (Document("long-id" * 10_000, "text"), "its id"),
        (Document("title", "text", "T" * 70_000), "its title"),
        (Document("metadata", "text", metadata={"m": "x" * 70_000}), "its metadata"),
        (Document("values", "text", metadata={"m": list(range(5_000))}), "too many values"),
    ):
        with pytest.raises(InputError, match=reason):
            collection.add([*documents(2), document])
    with pytest.raises(InputError, match="16,384"):
        collection.search_dense(["x"], 20_000)
    assert collection.info().documents == collection.info().passages == 0


def test_a_name_that_milvus_has_already_is_refused(collection: MilvusCollection) -> None:
    collection._store._connection.call("drop_collection", PASSAGES)
    with pytest.raises(CollectionExists, match="_documents"):
        MilvusCollection.create(collection.path, EMBEDDER)


def test_a_server_that_does_not_answer_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "root:s3cret")
    monkeypatch.setattr(milvus_client_module, "_SECONDS", 0.3)
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9#docs") as caught:
        MilvusCollection.open("milvus:http://127.0.0.1:9#docs")
    assert "s3cret" not in str(caught.value) + repr(caught.value.__dict__)
    assert "Traceback" not in str(caught.value)


def test_a_failing_search_says_where(collection: MilvusCollection) -> None:
    collection.add(documents(2))
    collection.close()
    with pytest.raises(StorageError, match="collection_"):
        collection.search_lexical(["common"], 1)


def test_nothing_of_milvus_is_loaded_for_a_directory(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from rag.indexes import open_collection\n"
        "from rag.core.errors import CollectionNotFound\n"
        "try: open_collection(sys.argv[1])\n"
        "except CollectionNotFound: print('pymilvus' in sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "none")],
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert ran.stdout.strip() == "False", ran.stderr

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rag.core.documents import Document
from rag.core.errors import (
    CollectionError,
    CollectionExists,
    CollectionNotFound,
    DataError,
    StorageError,
)
from rag.indexes import Collection, parquet
from rag.indexes.transfer import Export, write_export
from rag.testing.embedders import HashEmbedder

EMBEDDER = HashEmbedder(1024)
DOCUMENTS = [
    Document(
        f"d{n}",
        f"first words {n}.\n\n" + f"second words {n} ä\U0001f600\n\n" * (n % 3 * 20),
        f"Title {n}",
        f"file:{n}",
        {"n": n, "list": [n, "x", None], "real": 0.5, "flag": True},
    )
    for n in range(30)
] + [Document("empty", "")]


@pytest.fixture(params=["float16", "float32"])
def collection(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c", EMBEDDER, vector_dtype=request.param) as collection:
        collection.add(DOCUMENTS)
        yield collection


def contents(collection: Collection) -> list[Any]:
    with collection._store.read() as snapshot:
        return list(snapshot.contents())


def test_a_collection_comes_back_as_it_was(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_HELD", 4)
    monkeypatch.setattr(parquet, "_ROWS_A_FILE", 16)
    collection.remove(["d7"])
    collection.export(tmp_path / "export")
    assert len(list((tmp_path / "export").glob("documents-*.parquet"))) == 2
    with Collection.import_(tmp_path / "export", tmp_path / "copy") as copy:
        assert copy.manifest == collection.manifest
        assert contents(copy) == contents(collection)
        assert copy.verify().problems == ()
    with Collection.open(tmp_path / "copy", EMBEDDER, writable=True) as copy:
        queries = ["first words 12", "second"]
        for name in ("search_dense", "search_lexical"):
            ours, theirs = (getattr(each, name)(queries, 5) for each in (copy, collection))
            assert [[hit.passage for hit in hits] for hits in ours] == [
                [hit.passage for hit in hits] for hits in theirs
            ]
        # What is there already is neither split nor embedded again.
        report = copy.add([each for each in DOCUMENTS if each.id != "d7"])
        assert report.unchanged == len(DOCUMENTS) - 1


def test_other_tools_can_read_an_export(collection: Collection, tmp_path: Path) -> None:
    collection.export(tmp_path / "export")
    documents = pq.read_table(tmp_path / "export" / "documents-00000.parquet").to_pylist()
    assert [row["id"] for row in documents] == [each.id for each in DOCUMENTS]
    assert json.loads(documents[3]["metadata"]) == DOCUMENTS[3].metadata
    passages = pq.read_table(tmp_path / "export" / "passages-00000.parquet")
    assert passages.column_names == [
        *("id", "document_id", "text", "start", "end", "title", "heading", "vector")
    ]
    assert passages.num_rows == collection.info().passages
    assert len(passages["vector"][0]) == EMBEDDER.dimension


def test_an_empty_collection_is_exported_too(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        collection.export(tmp_path / "export")
    with Collection.import_(tmp_path / "export", tmp_path / "copy") as copy:
        assert copy.info().documents == 0


def test_exporting_over_something_is_refused(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "thesis.txt").write_text("mine")
    with pytest.raises(CollectionError, match="not empty"):
        collection.export(tmp_path / "export")


def test_an_export_that_fails_leaves_nothing(collection: Collection, tmp_path: Path) -> None:
    def contents() -> Iterator[Any]:
        yield DOCUMENTS[-1], [], []
        raise StorageError("store", "gone")

    with pytest.raises(StorageError, match="gone"):
        write_export(contents(), collection.manifest, tmp_path / "new" / "export")
    assert list((tmp_path / "new").iterdir()) == []


def test_an_export_gives_back_what_was_written(collection: Collection, tmp_path: Path) -> None:
    collection.export(tmp_path / "export")
    export = Export.read(tmp_path / "export")
    assert (export.documents, export.passages) == (len(DOCUMENTS), collection.info().passages)
    codec = collection.manifest.codec
    for (document, passages, vectors), (expected, stored) in zip(
        export.contents(tmp_path / "export"), contents(collection), strict=True
    ):
        assert document == expected
        assert passages == [each.passage for each in stored]
        assert vectors.dtype == codec.dtype
        assert vectors.shape == (len(stored), codec.dimension)
        assert [row.tobytes() for row in vectors] == [each.vector for each in stored]


def lose_manifest(folder: Path) -> None:
    (folder / "export.json").unlink()


def lose_passages(folder: Path) -> None:
    (folder / "passages-00000.parquet").unlink()


def lose_documents(folder: Path) -> None:
    table = pq.read_table(folder / "documents-00000.parquet")
    pq.write_table(table.slice(0, 5), folder / "documents-00000.parquet")


def truncate(folder: Path) -> None:
    file = folder / "passages-00000.parquet"
    file.write_bytes(file.read_bytes()[:-100])


def rename_column(folder: Path) -> None:
    table = pq.read_table(folder / "passages-00000.parquet")
    pq.write_table(table.rename_columns({"text": "body"}), folder / "passages-00000.parquet")


def shift_offsets(folder: Path) -> None:
    table = pq.read_table(folder / "passages-00000.parquet")
    starts = table["end"]
    shifted = table.set_column(table.column_names.index("start"), "start", starts)
    pq.write_table(shifted, folder / "passages-00000.parquet")


def another_format(folder: Path) -> None:
    export = json.loads((folder / "export.json").read_text())
    export["manifest"]["format"] = 99
    (folder / "export.json").write_text(json.dumps(export))


@pytest.mark.parametrize(
    "harm",
    [
        lose_manifest,
        lose_passages,
        lose_documents,
        truncate,
        rename_column,
        shift_offsets,
        another_format,
    ],
)
def test_a_damaged_export_becomes_no_collection(
    collection: Collection, tmp_path: Path, harm: Any
) -> None:
    collection.export(tmp_path / "export")
    harm(tmp_path / "export")
    with pytest.raises(DataError):
        Collection.import_(tmp_path / "export", tmp_path / "copy")
    with pytest.raises(CollectionNotFound):
        Collection.open(tmp_path / "copy")


def test_importing_over_a_collection_is_refused(collection: Collection, tmp_path: Path) -> None:
    collection.export(tmp_path / "export")
    with pytest.raises(CollectionExists):
        Collection.import_(tmp_path / "export", collection.path)
    assert collection.add([replace(DOCUMENTS[0], text="new")]).updated == 1

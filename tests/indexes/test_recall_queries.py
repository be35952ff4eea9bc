from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag.core.documents import Document
from rag.core.errors import InputError
from rag.indexes import Collection
from rag.indexes.recall_queries import (
    QUERIES_NAME,
    _drawn,
    halves,
    keep_queries,
    kept_queries,
    query_vectors,
)
from rag.indexes.records import VectorCodec
from rag.testing.embedders import HashEmbedder

EMBEDDER = HashEmbedder(64)
CODEC = VectorCodec("float16", 64)


def drawn(tmp_path: Path, *texts: str) -> list[str]:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        collection.add(Document(f"d{n}", text, f"Title {n}") for n, text in enumerate(texts))
        with collection._store.read() as snapshot:
            return _drawn(snapshot, EMBEDDER, np.random.default_rng(0))


def test_sentences_are_drawn_and_headings_are_not(tmp_path: Path) -> None:
    text = "A heading of some words\n\nThe first of two sentences. The second one is (this.)\n\nNo."
    assert set(drawn(tmp_path, text)) == {
        "The first of two sentences.",
        "The second one is (this.)",
    }


def test_a_text_without_sentences_is_drawn_as_it_is(tmp_path: Path) -> None:
    assert set(drawn(tmp_path, "x = 1 + 2")) == {"x = 1 + 2"}


def test_long_sentences_are_cut(tmp_path: Path) -> None:
    assert set(drawn(tmp_path, "word " * 100 + "end.")) == {"word " * 63 + "word"}


def test_each_is_drawn_from_another_passage(tmp_path: Path) -> None:
    texts = [f"this is sentence {n} of it." for n in range(600)]
    found = drawn(tmp_path, *texts)
    assert len(set(found)) == len(found) == 500
    assert set(found) <= set(texts)


def test_queries_are_different_and_in_the_same_order_each_time(tmp_path: Path) -> None:
    asked = [f"query {n % 50}" for n in range(100)]
    with (
        Collection.create(tmp_path / "c", EMBEDDER) as collection,
        collection._store.read() as snapshot,
    ):
        first, second = (query_vectors(snapshot, EMBEDDER, asked) for _ in range(2))
        expected = EMBEDDER.embed_queries(asked[:50])
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, expected, atol=1e-3)
    order = [np.abs(expected - vector).sum(axis=1).argmin() for vector in first]
    assert sorted(order) == list(range(50))
    np.testing.assert_allclose(first, expected[order], atol=1e-3)


def test_too_few_queries_are_refused(tmp_path: Path) -> None:
    with (
        Collection.create(tmp_path / "c", EMBEDDER) as collection,
        collection._store.read() as snapshot,
    ):
        with pytest.raises(InputError, match="3 different queries were given"):
            query_vectors(snapshot, EMBEDDER, ["a", "b", "b", "c"])
        with pytest.raises(InputError, match="0 different queries could be drawn"):
            query_vectors(snapshot, EMBEDDER, None)


@pytest.mark.parametrize("count", [4, 5, 501])
def test_halves_share_no_query(count: int) -> None:
    numbers = np.arange(count)
    first, second = (numbers[half] for half in halves(count))
    assert len(first) == count // 2
    np.testing.assert_array_equal(np.concatenate([first, second]), numbers)


def test_kept_queries_are_read_as_they_were_written(tmp_path: Path) -> None:
    queries = CODEC.decode(CODEC.encode(EMBEDDER.embed_queries(["a b", "c", "d", "e f"])), "")
    keep_queries(tmp_path, queries, CODEC)
    kept = kept_queries(tmp_path, CODEC)
    assert kept is not None
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, queries)


def test_what_cannot_be_used_is_not_read(tmp_path: Path) -> None:
    assert kept_queries(tmp_path, CODEC) is None
    keep_queries(tmp_path, EMBEDDER.embed_queries(["a b", "c", "d", "e f"]), CODEC)
    file = tmp_path / QUERIES_NAME
    whole = file.read_bytes()
    for damaged in (b"", b"text", whole[:-1], whole[:20]):
        file.write_bytes(damaged)
        assert kept_queries(tmp_path, CODEC) is None
    for other in (
        np.zeros((5, 3), np.float16),
        np.zeros((5, 64), np.float32),
        np.zeros((3, 64), np.float16),
        np.full((5, 64), np.nan, np.float16),
        np.float16(1),
    ):
        np.save(file, other)
        assert kept_queries(tmp_path, CODEC) is None
    np.save(file, np.array([{}] * 5, object), allow_pickle=True)
    assert kept_queries(tmp_path, CODEC) is None

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.core.documents import Document
from rag.core.protocols import Vectors
from rag.indexes import Collection
from rag.indexes import snapshot as snapshot_module
from rag.indexes.recall import Recall, exact_neighbours, find, recall_of
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store
from rag.indexes.vectors import VectorHits, create_index
from rag.testing.embedders import HashEmbedder

EMBEDDER = HashEmbedder(32)


def hits(ids: Sequence[int], scores: Sequence[float]) -> VectorHits:
    return VectorHits(np.array(ids, np.int64), np.array(scores, np.float32))


def random_queries(count: int, seed: int = 0) -> Vectors:
    queries = np.random.default_rng(seed).standard_normal((count, EMBEDDER.dimension))
    return queries.astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that is read in several batches; some passages have the same vector."""
    folder = tmp_path_factory.mktemp("recall") / "c"
    with (
        pytest.MonkeyPatch.context() as patch,
        Collection.create(folder, EMBEDDER) as collection,
    ):
        patch.setattr(snapshot_module, "_BATCH", 64)
        collection.add(Document(f"d{n}", f"{n % 450} {n % 7} {n % 11}") for n in range(500))
        yield collection._store


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 40), top_k=st.integers(1, 30), seed=st.integers(0, 2**16))
def test_exact_neighbours_are_those_of_brute_force(
    store: Store, count: int, top_k: int, seed: int
) -> None:
    queries = random_queries(count, seed)
    with store.read() as snapshot:
        ids, vectors = snapshot.vectors(snapshot.ids())
        found = exact_neighbours(snapshot, queries, top_k)
    scores = queries @ vectors.T
    assert len(found) == count
    for row, near in zip(scores, found, strict=True):
        np.testing.assert_allclose(near.scores, np.sort(row)[::-1][:top_k], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            near.scores, row[np.searchsorted(ids, near.ids)], rtol=1e-4, atol=1e-5
        )
        assert len(set(near.ids.tolist())) == top_k


def test_fewer_passages_than_neighbours(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        with collection._store.read() as snapshot:
            (nothing,) = exact_neighbours(snapshot, random_queries(1), 10)
        assert len(nothing.ids) == 0
        collection.add(Document(f"d{n}", f"text {n}") for n in range(3))
        with collection._store.read() as snapshot:
            (all_three,) = exact_neighbours(snapshot, random_queries(1), 10)
        assert sorted(all_three.ids.tolist()) == [1, 2, 3]


def test_recall_is_the_mean_share_of_the_true_neighbours() -> None:
    true = [hits([1, 2, 3, 4], [0.9, 0.8, 0.7, 0.6])] * 2
    found = [hits([1, 2, 9, 8], [0.9, 0.8, 0.5, 0.4]), hits([4, 3, 2, 1], [0.6, 0.7, 0.8, 0.9])]
    recall = recall_of(found, true)
    assert recall.mean == 0.75
    assert recall.error == pytest.approx(0.25)
    assert recall.queries == 2


def test_passages_that_are_as_near_count_as_found() -> None:
    true = [hits([1, 2, 3], [0.9, 0.5, 0.5])]
    assert recall_of([hits([1, 7, 8], [0.9, 0.5, 0.5])], true).mean == 1
    assert recall_of([hits([1, 7, 8], [0.9, 0.5, 0.49])], true).mean == pytest.approx(2 / 3)
    # Many of them are no more than there are to be found.
    assert recall_of([hits([1, 7, 8, 9, 10], [0.9, 0.5, 0.5, 0.5, 0.5])], true).mean == 1


def test_nothing_to_be_found_is_found() -> None:
    assert recall_of([hits([], [])], [hits([], [])]) == Recall(1.0, 0.0, 1)


@settings(max_examples=50)
@given(
    shares=st.lists(st.integers(0, 10), min_size=1, max_size=20),
    target=st.floats(0.01, 1.0),
)
def test_a_recall_never_surely_reaches_and_surely_misses(shares: list[int], target: float) -> None:
    true = [hits(range(10), np.linspace(1, 0.1, 10).tolist())] * len(shares)
    found = [hits(range(share), np.linspace(1, 0.1, 10)[:share].tolist()) for share in shares]
    recall = recall_of(found, true)
    assert recall.mean == pytest.approx(sum(shares) / len(shares) / 10)
    assert not (recall.surely_reaches(target) and recall.surely_misses(target))
    assert recall.surely_reaches(target) <= (recall.mean >= target)
    assert recall.surely_misses(target) <= (recall.mean < target)


def test_confidence_grows_with_the_queries() -> None:
    true = [hits(range(10), np.linspace(1, 0.1, 10).tolist())]
    found = [hits(range(share), np.linspace(1, 0.1, share).tolist()) for share in (9, 10)]
    few, many = (recall_of(found * times, true * 2 * times) for times in (2, 200))
    assert few.mean == pytest.approx(0.95)
    assert many.mean == pytest.approx(0.95)
    assert not few.surely_reaches(0.94)
    assert many.surely_reaches(0.94)
    assert not few.surely_misses(0.96)
    assert many.surely_misses(0.96)


def test_measuring_an_index(store: Store) -> None:
    queries = random_queries(70)
    with store.read() as snapshot:
        true = exact_neighbours(snapshot, queries, 10)
        index = create_index(EMBEDDER.dimension)
        ids, vectors = snapshot.vectors(snapshot.ids())
        index.add(ids, vectors)
        assert recall_of(find(index, snapshot, queries), true) == Recall(1.0, 0.0, 70)
        index.remove(np.concatenate([near.ids[:5] for near in true]))
        assert recall_of(find(index, snapshot, queries), true).mean < 0.6
        assert_rescored(snapshot, queries, true, ids, vectors)


def assert_rescored(
    snapshot: Snapshot,
    queries: Vectors,
    true: Sequence[VectorHits],
    ids: np.ndarray[tuple[int], np.dtype[np.int64]],
    vectors: Vectors,
) -> None:
    index = create_index(EMBEDDER.dimension, codes="int8", training=vectors)
    index.add(ids, vectors)
    few, many = (recall_of(find(index, snapshot, queries, each), true).mean for each in (1, 4))
    assert few < many
    assert many > 0.99

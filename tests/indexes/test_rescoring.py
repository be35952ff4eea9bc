"""Searches of approximate indexes, scored anew by the store's vectors."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.errors import CollectionCorrupt, InputError
from rag.indexes.records import VectorCodec
from rag.indexes.rescoring import nearest
from rag.indexes.store import Store
from rag.indexes.vectors import create_index
from rag.testing.vector_index_conformance import DIMENSION, sample_vectors

COUNT = 300
VECTORS = sample_vectors(COUNT, seed=1).astype(np.float16).astype(np.float32)
VECTORS[100:110] = VECTORS[:10]  # equal vectors, so equal scores
QUERIES = sample_vectors(8, seed=2)
IDS = np.arange(1, COUNT + 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("c"), VectorCodec("float16", DIMENSION))
    with store.write() as transaction:
        hashes = [number.to_bytes(16) for number in range(COUNT)]
        vector_ids = transaction.add_vectors(hashes, VECTORS)
        transaction.execute("INSERT INTO documents VALUES (1, 'd', '', '', '{}', x'', '')")
        for number, vector in zip(IDS.tolist(), vector_ids.values(), strict=True):
            transaction.execute(
                "INSERT INTO passages VALUES (?, 1, ?, 1, '', 0, 0, '', '', '')", (number, vector)
            )
    yield store
    store.close()


def make(kind, codes):
    index = create_index(DIMENSION, kind=kind, codes=codes, training=sample_vectors(COUNT))
    index.add(IDS, VECTORS)
    return index


EXACT = make("flat", "float32")
INDEXES = [make("flat", "int8"), make("hnsw", "int8"), make("ivf", "int8")]
for each in INDEXES[1:]:
    each.effort = 100 if each.kind == "hnsw" else 7  # all of the clusters


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    index=st.sampled_from(INDEXES),
    top_k=st.integers(1, 400),
    queries=st.integers(1, 8),
    allowed=st.none() | st.lists(st.integers(0, 400)),
)
def test_with_all_as_candidates_it_is_exact_search(store, index, top_k, queries, allowed):
    ids = None if allowed is None else np.array(allowed, np.int64)
    with store.read() as snapshot:
        found = nearest(index, snapshot, QUERIES[:queries], top_k, ids, oversampling=COUNT)
    expected = EXACT.search(QUERIES[:queries], top_k, ids)
    for hits, exact, query in zip(found, expected, QUERIES, strict=False):
        assert hits.ids.dtype == np.int64
        assert hits.scores.dtype == np.float32
        assert np.allclose(hits.scores, exact.scores, rtol=0, atol=1e-6)
        assert np.allclose(VECTORS[hits.ids - 1] @ query, exact.scores, rtol=0, atol=1e-6)
        assert len(set(hits.ids.tolist())) == len(hits.ids) == len(exact.ids)
    assert len(found) == queries


def test_of_equal_scores_the_smaller_id_comes_first(store):
    with store.read() as snapshot:
        for row, hits in enumerate(nearest(INDEXES[0], snapshot, VECTORS[:10], 2)):
            assert hits.ids.tolist() == [row + 1, row + 101]
            assert hits.scores[0] == hits.scores[1]


def test_scores_are_exact_although_those_of_the_index_are_not(store):
    index = INDEXES[0]
    true = QUERIES @ VECTORS.T
    with store.read() as snapshot:
        found = nearest(index, snapshot, QUERIES, 5)
    for hits, bare, row in zip(found, index.search(QUERIES, 5), true, strict=True):
        assert np.allclose(hits.scores, row[hits.ids - 1], rtol=0, atol=1e-6)
        assert not np.allclose(bare.scores, row[bare.ids - 1], rtol=0, atol=1e-6)


def test_squared_distances(store):
    index = create_index(DIMENSION, codes="int8", metric="l2", training=VECTORS)
    index.add(IDS, VECTORS)
    with store.read() as snapshot:
        found = nearest(index, snapshot, QUERIES, 5, oversampling=10)
    for hits, query in zip(found, QUERIES, strict=True):
        distances = ((VECTORS - query) ** 2).sum(axis=1)
        assert np.allclose(hits.scores, -distances[hits.ids - 1], rtol=0, atol=1e-5)
        assert np.allclose(-hits.scores, np.sort(distances)[:5], rtol=0, atol=1e-5)


@pytest.mark.parametrize("index", [EXACT, *INDEXES], ids=lambda index: index.description)
def test_nothing_to_find(store, index):
    empty = create_index(DIMENSION, codes="int8", training=VECTORS)
    with store.read() as snapshot:
        for hits in [
            *nearest(index, snapshot, QUERIES[:2], 5, np.array([999])),
            *nearest(empty, snapshot, QUERIES[:2], 5),
        ]:
            assert len(hits.ids) == len(hits.scores) == 0
        assert nearest(index, snapshot, QUERIES[:0], 5) == []


def test_a_passage_that_is_not_stored_is_named(store):
    index = make("flat", "int8")
    index.add([4321], QUERIES[:1])
    with store.read() as snapshot, pytest.raises(CollectionCorrupt, match="passage 4321, which"):
        nearest(index, snapshot, QUERIES[:1], 5)


def test_unusable_queries_are_refused(store):
    with store.read() as snapshot, pytest.raises(InputError, match="NaN"):
        nearest(INDEXES[0], snapshot, np.full((1, DIMENSION), np.nan, np.float32), 5)

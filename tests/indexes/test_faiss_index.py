"""FAISS indexes: the conformance suite for every kind, and what is particular to them."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.errors import InputError
from rag.indexes import faiss_create
from rag.indexes.vectors import create_index, load_index
from rag.testing.vector_index_conformance import DIMENSION, VectorIndexConformance, sample_vectors


class FaissConformance(VectorIndexConformance):
    def load_index(self, path, *, mapped):
        return load_index(path, mapped=mapped)


class TestFlat(FaissConformance):
    def make_index(self, dimension):
        return create_index(dimension, size_hint=100)


class TestFlatFloat16(FaissConformance):
    recall_floor = 0.99
    score_tolerance = 1e-3

    def make_index(self, dimension):
        return create_index(dimension, codes="float16", size_hint=100)


class TestFlatInt8(FaissConformance):
    recall_floor = 0.95
    score_tolerance = 0.02

    def make_index(self, dimension):
        return create_index(dimension, codes="int8", training=sample_vectors(100, dimension))


class HnswConformance(FaissConformance):
    recall_floor = 0.95

    @pytest.fixture(autouse=True)
    def narrow_search(self, monkeypatch):
        # With the default, all vectors of the suite would be scored without the graph.
        monkeypatch.setattr(faiss_create, "_EF_SEARCH", 16)


class TestHnsw(HnswConformance):
    def make_index(self, dimension):
        return create_index(dimension, kind="hnsw", size_hint=1000)


class TestHnswInt8(HnswConformance):
    score_tolerance = 0.02

    def make_index(self, dimension):
        training = sample_vectors(100, dimension)
        return create_index(dimension, kind="hnsw", codes="int8", training=training)


class TestIvf(FaissConformance):
    recall_floor = 0.85

    def make_index(self, dimension):
        return create_index(dimension, kind="ivf", training=sample_vectors(1000, dimension))


class TestIvfInt8(FaissConformance):
    recall_floor = 0.85
    score_tolerance = 0.02

    def make_index(self, dimension):
        training = sample_vectors(1000, dimension)
        return create_index(dimension, kind="ivf", codes="int8", training=training)


@pytest.fixture(scope="module")
def trained_pq(tmp_path_factory):
    # Training takes seconds: it is done once, and the empty index is loaded for each test.
    path = tmp_path_factory.mktemp("pq") / "trained"
    training = sample_vectors(10_000, seed=9)
    create_index(DIMENSION, kind="ivf", codes="pq", size_hint=1000, training=training).save(path)
    return path


class TestIvfPq(FaissConformance):
    recall_floor = 0.75
    score_tolerance = 0.25  # a byte for every four numbers

    @pytest.fixture(autouse=True)
    def trained(self, trained_pq):
        self.path = trained_pq

    def make_index(self, dimension):
        assert dimension == DIMENSION
        return load_index(self.path)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_l2_scores_are_negative_squared_distances(kind):
    vectors, queries = sample_vectors(500, seed=1) * 3, sample_vectors(20, seed=2) * 2
    index = create_index(DIMENSION, kind=kind, metric="l2", training=vectors)
    index.add(range(500), vectors)
    distances = ((queries[:, None] - vectors[None]) ** 2).sum(axis=2)
    for hits, row in zip(index.search(queries, 500), distances, strict=True):
        assert np.allclose(hits.scores, -row[hits.ids], atol=1e-3)
        assert np.allclose(hits.scores, -np.sort(row), atol=1e-3)


def test_the_description_tells_what_was_built(tmp_path):
    sample = sample_vectors(1000)

    def description(kind, codes="float32", **options):
        index = create_index(DIMENSION, kind=kind, codes=codes, **options)
        assert (index.kind, index.codes) == (kind, codes)
        index.save(tmp_path / "index")
        loaded = load_index(tmp_path / "index")
        assert (loaded.kind, loaded.codes) == (kind, codes)
        assert loaded.description == index.description
        return index.description

    assert description("flat") == "Flat"
    assert description("flat", "float16") == "SQfp16"
    assert description("flat", "int8", training=sample) == "SQ8"
    assert description("flat", "int8", training=sample[:0]) == "Flat"
    assert description("hnsw") == "HNSW32,Flat"
    assert description("hnsw", "int8", training=sample) == "HNSW32,SQ8"
    assert description("ivf", training=sample) == "IVF25,Flat"
    assert description("ivf", "float16", training=sample, size_hint=9) == "IVF12,SQfp16"
    assert description("ivf", "pq", training=sample) == "IVF25,Flat"


def test_effort_acts_at_once_and_is_saved(tmp_path):
    vectors, queries = sample_vectors(2000), sample_vectors(50, seed=1)
    nearest = np.argsort(-queries @ vectors.T)[:, :10]
    for kind, low, high in (("hnsw", 1, 500), ("ivf", 1, 51)):
        index = create_index(DIMENSION, kind=kind, training=vectors)
        index.add(range(2000), vectors)
        recalls = []
        for effort in (low, high):
            index.effort = effort
            found = index.search(queries, 10)
            hit = [np.isin(hits.ids, row) for hits, row in zip(found, nearest, strict=True)]
            recalls.append(np.mean(hit))
        assert recalls[0] < recalls[1] == 1
        index.save(tmp_path / kind)
        assert load_index(tmp_path / kind).effort == high


def test_effort_out_of_range_is_refused():
    vectors = sample_vectors(200)
    for kind, effort, message in (
        ("flat", 1, "only 0"),
        ("hnsw", 0, "at least 1"),
        ("ivf", 0, "1 to 5 clusters"),
        ("ivf", 6, "1 to 5 clusters"),
    ):
        index = create_index(DIMENSION, kind=kind, training=vectors)
        before = index.effort
        with pytest.raises(InputError, match=f"effort is {effort}; .*{message}"):
            index.effort = effort
        assert index.effort == before


def test_unknown_options_are_refused():
    for options, message in (
        ({"kind": "annoy"}, "no kind 'annoy'; there are flat, hnsw, ivf"),
        ({"metric": "cosine"}, "no metric 'cosine'"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"kind": "ivf"}, "training"),
        ({"kind": "ivf", "codes": "pq", "training": np.ones((5, 7))}, "dimension 7"),
        ({"codes": "int8"}, "training"),
        ({"codes": "pq"}, "'pq' are for indexes of kind 'ivf', not 'flat'"),
        ({"codes": "int4"}, "no codes 'int4'; there are float32, float16, int8, pq"),
    ):
        with pytest.raises(InputError, match=message):
            create_index(DIMENSION, **options)
    with pytest.raises(InputError, match="at least 1"):
        create_index(0)


def test_the_module_does_not_import_faiss():
    code = "import sys, rag.indexes.vectors; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# A few vectors on a grid: many equal ones, many ties, ids that collide often.
GRID = np.stack(np.meshgrid([-1, 0, 1], [0, 1, 2]), axis=-1).reshape(-1, 2).astype(np.float32)
ids = st.lists(st.integers(0, 20), unique=True, max_size=8)
operation = st.one_of(
    st.tuples(st.just("add"), ids),
    st.tuples(st.just("remove"), ids),
    st.tuples(st.just("search"), st.none() | ids),
    st.tuples(st.just("reload"), st.just([])),
)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=st.lists(operation, max_size=25), top_k=st.integers(1, 12), data=st.data())
def test_any_sequence_of_operations_agrees_with_a_dictionary(
    tmp_path, kind, operations, top_k, data
):
    index = create_index(2, kind=kind, training=GRID)
    held = {}
    for name, given_ids in operations:
        if name == "add":
            rows = data.draw(
                st.lists(
                    st.integers(0, len(GRID) - 1),
                    min_size=len(given_ids),
                    max_size=len(given_ids),
                )
            )
            if held.keys() & set(given_ids):
                with pytest.raises(InputError, match="already"):
                    index.add(given_ids, GRID[rows])
            else:
                index.add(given_ids, GRID[rows])
                held.update(zip(given_ids, GRID[rows], strict=True))
        elif name == "remove":
            present = [each for each in given_ids if held.pop(each, None) is not None]
            assert index.remove(given_ids) == len(present)
        elif name == "reload":
            index.save(tmp_path / "index")
            index = load_index(tmp_path / "index")
        else:
            allowed = held.keys() if given_ids is None else held.keys() & set(given_ids)
            for query, hits in zip(GRID, index.search(GRID, top_k, given_ids), strict=True):
                assert set(hits.ids.tolist()) <= allowed
                assert len(set(hits.ids.tolist())) == len(hits.ids)
                assert [held[each] @ query for each in hits.ids.tolist()] == hits.scores.tolist()
                best = sorted((held[each] @ query for each in allowed), reverse=True)
                assert hits.scores.tolist() == best[:top_k]
        assert len(index) == len(held)
        assert index.ids().tolist() == sorted(held)

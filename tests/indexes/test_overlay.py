"""A saved index with changes in memory: the conformance suite, and what removals could break."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.errors import CollectionCorrupt, InputError
from rag.indexes.overlay import Overlay
from rag.indexes.vectors import VectorIndex, create_index, load_index
from rag.testing.vector_index_conformance import DIMENSION, VectorIndexConformance, sample_vectors

_FORMER = np.arange(200)
"""Ids of vectors that were in the saved index and are removed from it."""


class OverlayConformance(VectorIndexConformance):
    kind: Any
    training = None

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path_factory):
        self.paths = (tmp_path_factory.mktemp("overlay") / str(n) for n in range(9))

    def saved(self, dimension: int, ids: Any = (), vectors: Any = None) -> Overlay:
        path = next(self.paths)
        index = create_index(dimension, kind=self.kind, training=self.training)
        if vectors is not None:
            index.add(ids, vectors)
        index.save(path)
        return Overlay(path)

    def make_index(self, dimension: int) -> VectorIndex:
        return self.saved(dimension)

    def load_index(self, path: Path, *, mapped: bool) -> VectorIndex:
        return load_index(path, mapped=mapped)  # a saved overlay is an ordinary index

    @pytest.fixture
    def filled(self, ids, vectors):
        """Some of the 1,000 vectors are saved, among others that are removed, and some added."""
        former = sample_vectors(len(_FORMER), seed=4)
        index = self.saved(
            DIMENSION,
            np.concatenate([_FORMER * 1000, ids[:700]]),
            np.concatenate([former, vectors[:700]]),
        )
        index.remove(_FORMER * 1000)
        index.add(ids[700:900], vectors[700:900])
        index.add(ids[900:], vectors[900:])
        return index

    def test_a_new_index_is_empty(self, queries):
        index = self.make_index(DIMENSION)
        assert index.mapped
        assert index.dimension == DIMENSION
        self.check(index, np.empty(0, np.int64), np.empty((0, DIMENSION), np.float32), queries)

    def test_an_id_of_the_saved_index_is_in_use(self, filled, ids, vectors):
        with pytest.raises(InputError, match=f"id {ids[5]} .*already"):
            filled.add([1, ids[5]], vectors[:2])
        filled.remove(ids[5:6])
        filled.add([1, ids[5]], vectors[:2])


class TestOverFlat(OverlayConformance):
    kind = "flat"


class TestOverHnsw(OverlayConformance):
    kind = "hnsw"
    recall_floor = 0.95


class TestOverIvf(OverlayConformance):
    kind = "ivf"
    recall_floor = 0.85
    training = sample_vectors(1000)


def test_the_nearest_are_found_behind_any_number_of_removed_ones(tmp_path):
    vectors = sample_vectors(3000, seed=1)
    query = vectors[:1]
    nearest = np.argsort(-(vectors @ query[0]), kind="stable")
    saved = create_index(DIMENSION)
    saved.add(np.arange(3000), vectors)
    saved.save(tmp_path / "index")
    overlay = Overlay(tmp_path / "index")
    for removed in (1, 19, 20, 21, 500, 2985, 2990, 2995, 3000):
        overlay.remove(nearest[:removed])
        (hits,) = overlay.search(query, 10)
        assert hits.ids.tolist() == nearest[removed : removed + 10].tolist()


def test_the_file_is_never_written_and_may_be_deleted(tmp_path):
    vectors = sample_vectors(100)
    saved = create_index(DIMENSION)
    saved.add(np.arange(100), vectors)
    saved.save(tmp_path / "index")
    before = (tmp_path / "index").read_bytes()
    overlay = Overlay(tmp_path / "index")
    overlay.remove(np.arange(50))
    overlay.add(np.arange(100, 150), vectors[:50])
    assert (tmp_path / "index").read_bytes() == before
    (tmp_path / "index").unlink()
    found = overlay.search(vectors, 1)
    assert [hits.ids[0] for hits in found] == [*range(100, 150), *range(50, 100)]


def test_effort_is_that_of_the_saved_index(tmp_path):
    create_index(DIMENSION, kind="ivf", training=sample_vectors(1000)).save(tmp_path / "index")
    overlay = Overlay(tmp_path / "index")
    overlay.effort = 3
    assert overlay.effort == 3
    with pytest.raises(InputError, match="effort"):
        overlay.effort = -1


def test_saving_what_is_damaged_is_refused(tmp_path):
    saved = create_index(DIMENSION)
    saved.add(np.arange(100), sample_vectors(100))
    saved.save(tmp_path / "index")
    content = bytearray((tmp_path / "index").read_bytes())
    content[2000] ^= 1
    (tmp_path / "index").write_bytes(content)
    with pytest.raises(CollectionCorrupt, match="checksum"):
        Overlay(tmp_path / "index").save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# A few vectors on a grid: many ties, ids that collide often.
_GRID = np.stack(np.meshgrid([-1, 0, 1], [0, 1, 2]), axis=-1).reshape(-1, 2).astype(np.float32)
_ids = st.lists(st.integers(0, 20), unique=True, max_size=8)
_operation = st.one_of(
    st.tuples(st.sampled_from(["add", "remove", "search"]), _ids),
    st.tuples(st.sampled_from(["search all", "save"]), st.just([])),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=st.lists(_operation, max_size=25), top_k=st.integers(1, 12))
def test_any_sequence_of_operations_agrees_with_a_dictionary(tmp_path, operations, top_k):
    create_index(2).save(tmp_path / "index")
    index = Overlay(tmp_path / "index")
    held = {}
    for step, (name, given_ids) in enumerate(operations):
        if name == "add":
            rows = [(step + each) % len(_GRID) for each in given_ids]
            if held.keys() & set(given_ids):
                with pytest.raises(InputError, match="already"):
                    index.add(given_ids, _GRID[rows])
            else:
                index.add(given_ids, _GRID[rows])
                held.update(zip(given_ids, _GRID[rows], strict=True))
        elif name == "remove":
            present = [each for each in given_ids if held.pop(each, None) is not None]
            assert index.remove(given_ids) == len(present)
        elif name == "save":
            index.save(tmp_path / "next")
            (tmp_path / "next").replace(tmp_path / "index")
            index = Overlay(tmp_path / "index")
        else:
            only = None if name == "search all" else given_ids
            allowed = held.keys() if only is None else held.keys() & set(only)
            for query, hits in zip(_GRID, index.search(_GRID, top_k, only), strict=True):
                assert len(set(hits.ids.tolist())) == len(hits.ids)
                assert set(hits.ids.tolist()) <= allowed
                assert [held[each] @ query for each in hits.ids.tolist()] == hits.scores.tolist()
                best = sorted((held[each] @ query for each in allowed), reverse=True)
                assert hits.scores.tolist() == best[:top_k]
        assert len(index) == len(held)
        assert sorted(index.ids().tolist()) == sorted(held)

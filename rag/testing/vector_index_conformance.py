"""What every `VectorIndex` has to do.

Inherit the suite in a test module and say how an index is made and loaded::

    class TestMyIndex(VectorIndexConformance):
        def make_index(self, dimension):
            return MyIndex(dimension)

        def load_index(self, path, *, mapped):
            return MyIndex.load(path, mapped=mapped)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from rag.core.errors import CollectionCorrupt, InputError, StorageError
from rag.core.protocols import Vectors

if TYPE_CHECKING:
    from rag.indexes.vectors import VectorHits, VectorIndex

DIMENSION = 16


def sample_vectors(count: int, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    """Return vectors of length 1 in 40 clusters, shape (count, dimension).

    The clusters do not depend on the seed, so different samples come from one distribution.
    """
    centres = np.random.default_rng(40).standard_normal((40, dimension))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(40, size=count)]
    vectors += 0.5 * rng.standard_normal((count, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


class VectorIndexConformance:
    """The suite, for indexes that score by inner product.

    Attributes:
        recall_floor: The least mean share of the true 10 nearest that a search has to find; 1
            for an exact index.
        score_tolerance: How far a score may be from the true inner product.
    """

    recall_floor = 1.0
    score_tolerance = 1e-5

    def make_index(self, dimension: int) -> VectorIndex:
        """Return an empty index."""
        raise NotImplementedError

    def load_index(self, path: Path, *, mapped: bool) -> VectorIndex:
        """Load a saved index."""
        raise NotImplementedError

    @pytest.fixture
    def vectors(self) -> Vectors:
        """1,000 vectors."""
        return sample_vectors(1000, seed=1)

    @pytest.fixture
    def ids(self) -> npt.NDArray[np.int64]:
        """Their ids: large, with gaps, in no order."""
        return np.random.default_rng(2).permutation(1000) * 7 + (1 << 40)

    @pytest.fixture
    def queries(self) -> Vectors:
        """50 queries."""
        return sample_vectors(50, seed=3)

    @pytest.fixture
    def filled(self, ids: npt.NDArray[np.int64], vectors: Vectors) -> VectorIndex:
        """An index of the 1,000 vectors, added in uneven parts."""
        index = self.make_index(DIMENSION)
        for part in np.split(np.arange(1000), [1, 400, 400]):
            index.add(ids[part], vectors[part])
        return index

    def check(
        self,
        index: VectorIndex,
        ids: npt.NDArray[np.int64],
        vectors: Vectors,
        queries: Vectors,
        *,
        top_k: int = 10,
        allowed: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Compare searches with a reference that scores every vector.

        Args:
            index: The index.
            ids: The ids it should hold.
            vectors: Their vectors.
            queries: What to search for.
            top_k: Hits to ask for.
            allowed: What the search is restricted to.
        """
        assert len(index) == len(ids)
        assert np.array_equal(np.sort(index.ids()), np.sort(ids))
        if allowed is not None:
            inside = np.isin(ids, allowed)
            ids, vectors = ids[inside], vectors[inside]
        scores = queries @ vectors.T
        count = min(top_k, len(ids))
        found = index.search(queries, top_k, allowed)
        assert len(found) == len(queries)
        recalls = []
        for hits, row in zip(found, scores, strict=True):
            assert hits.ids.dtype == np.int64
            assert hits.scores.dtype == np.float32
            assert len(set(hits.ids.tolist())) == len(hits.ids) == len(hits.scores) == count
            assert np.isin(hits.ids, ids).all()
            assert (np.diff(hits.scores) <= 0).all()
            by_id = dict(zip(ids.tolist(), row.tolist(), strict=True))
            true = np.array([by_id[each] for each in hits.ids.tolist()])
            assert np.allclose(hits.scores, true, rtol=0, atol=self.score_tolerance)
            # Counting scores, not ids, lets equal vectors stand for each other.
            tenth = np.sort(row)[::-1][:count][:10].min(initial=2)
            recalls.append((true[:10] >= tenth - 1e-5).mean() if count else 1.0)
        if top_k >= 10 or self.recall_floor == 1:
            assert np.mean(recalls) >= self.recall_floor

    def test_a_new_index_is_empty(self, queries: Vectors) -> None:
        """It says so, and finds nothing."""
        index = self.make_index(DIMENSION)
        assert index.dimension == DIMENSION
        assert not index.mapped
        self.check(index, np.empty(0, np.int64), np.empty((0, DIMENSION), np.float32), queries)

    def test_search(self, filled: Any, ids: Any, vectors: Any, queries: Any) -> None:
        """The nearest are found, with their scores, best first."""
        self.check(filled, ids, vectors, queries)

    def test_one_query_finds_what_a_batch_does(self, filled: Any, queries: Any) -> None:
        """How many queries come at once makes no difference."""
        for query, hits in zip(queries, filled.search(queries, 5), strict=True):
            (alone,) = filled.search(query[None], 5)
            assert np.allclose(alone.scores, hits.scores, atol=1e-5)

    @pytest.mark.parametrize("top_k", [1, 300, 1000, 3000])
    def test_as_many_as_asked_for_come_back(
        self, filled: Any, ids: Any, vectors: Any, queries: Any, top_k: int
    ) -> None:
        """All of them, where there are fewer."""
        self.check(filled, ids, vectors, queries[:5], top_k=top_k)

    def test_no_queries(self, filled: Any) -> None:
        """No queries give no hits."""
        assert filled.search(np.empty((0, DIMENSION), np.float32), 3) == []

    @pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 75, 150, 500, 999, 1000])
    def test_restricted_to_ids(
        self, filled: Any, ids: Any, vectors: Any, queries: Any, count: int
    ) -> None:
        """Only they come back, and enough of them, however few there are among many."""
        allowed = np.random.default_rng(count).choice(ids, count, replace=False)
        unknown = np.array([3, 5, ids.max() + 1])
        self.check(
            filled, ids, vectors, queries, allowed=np.concatenate([allowed, unknown, allowed])
        )

    def test_restricted_to_the_farthest(
        self, filled: Any, ids: Any, vectors: Any, queries: Any
    ) -> None:
        """They are found although a search meets hundreds of nearer ones first."""
        for query in queries[:10]:
            farthest = ids[np.argsort(vectors @ query)[:100]]
            (hits,) = filled.search(query[None], 20, farthest)
            assert len(hits.ids) == 20
            assert np.isin(hits.ids, farthest).all()

    def test_remove(self, filled: Any, ids: Any, vectors: Any, queries: Any) -> None:
        """Removed vectors are gone, unknown and repeated ids do not count."""
        gone, left = ids[:600], slice(600, None)
        assert filled.remove(np.concatenate([gone, gone[:5], [3, ids.max() + 1]])) == 600
        self.check(filled, ids[left], vectors[left], queries)
        self.check(filled, ids[left], vectors[left], queries, allowed=ids[500:750])
        assert filled.remove(gone) == 0
        assert filled.remove([]) == 0

    def test_a_removed_id_can_come_back(
        self, filled: Any, ids: Any, vectors: Any, queries: Any
    ) -> None:
        """It has its new vector then, not the old one."""
        filled.remove(ids[:500])
        filled.add(ids[:500], vectors[500:1000])
        vectors[:500] = vectors[500:1000]
        self.check(filled, ids, vectors, queries)
        self.check(filled, ids, vectors, queries, allowed=ids[:300])

    def test_removing_everything(self, filled: Any, ids: Any, vectors: Any, queries: Any) -> None:
        """It leaves an empty index that can be used again."""
        assert filled.remove(ids) == 1000
        self.check(filled, ids[:0], vectors[:0], queries)
        filled.add(ids[:20], vectors[:20])
        self.check(filled, ids[:20], vectors[:20], queries)

    @pytest.mark.parametrize("mapped", [False, True])
    def test_save_and_load(
        self, filled: Any, ids: Any, vectors: Any, queries: Any, tmp_path: Path, mapped: bool
    ) -> None:
        """A loaded index is the saved one, removals included."""
        path = tmp_path / "vectors.index"
        filled.save(path)
        filled.remove(ids[:300])
        filled.save(path)
        assert list(tmp_path.iterdir()) == [path]
        loaded = self.load_index(path, mapped=mapped)
        assert (loaded.kind, loaded.description) == (filled.kind, filled.description)
        assert (loaded.metric, loaded.dimension) == (filled.metric, filled.dimension)
        assert loaded.mapped == mapped
        self.check(loaded, ids[300:], vectors[300:], queries)
        self.check(loaded, ids[300:], vectors[300:], queries, allowed=ids[200:400])
        if not mapped:
            loaded.add(ids[:300], vectors[:300])
            assert loaded.remove(ids[500:600]) == 100
            ids, vectors = np.delete(ids, range(500, 600)), np.delete(vectors, range(500, 600), 0)
            self.check(loaded, ids, vectors, queries)

    def test_an_empty_index_can_be_saved(self, queries: Any, tmp_path: Path) -> None:
        """It is empty when loaded."""
        path = tmp_path / "vectors.index"
        self.make_index(DIMENSION).save(path)
        for mapped in (False, True):
            loaded = self.load_index(path, mapped=mapped)
            self.check(loaded, np.empty(0, np.int64), np.empty((0, 16), np.float32), queries)

    def test_a_mapped_index_refuses_writes(
        self, filled: Any, ids: Any, vectors: Any, tmp_path: Path
    ) -> None:
        """It says why."""
        filled.save(tmp_path / "vectors.index")
        mapped = self.load_index(tmp_path / "vectors.index", mapped=True)
        with pytest.raises(InputError, match="read-only"):
            mapped.add(np.array([1]), vectors[:1])
        with pytest.raises(InputError, match="read-only"):
            mapped.remove(ids[:1])
        assert len(mapped) == 1000

    def test_saving_where_nothing_can_be_written(self, filled: Any, tmp_path: Path) -> None:
        """The error names the path."""
        path = tmp_path / "missing" / "vectors.index"
        with pytest.raises(StorageError, match=r"missing/vectors\.index"):
            filled.save(path)

    @pytest.mark.parametrize("mapped", [False, True])
    def test_loading_what_is_not_there(self, tmp_path: Path, mapped: bool) -> None:
        """The error names the path, for a missing file and for a directory."""
        for path in (tmp_path / "vectors.index", tmp_path):
            with pytest.raises(StorageError, match=str(path)):
                self.load_index(path, mapped=mapped)

    @pytest.mark.parametrize("mapped", [False, True])
    def test_loading_what_is_no_whole_index(
        self, filled: Any, tmp_path: Path, mapped: bool
    ) -> None:
        """Foreign, empty, cut and lengthened files are refused by name."""
        path = tmp_path / "vectors.index"
        filled.save(path)
        whole = path.read_bytes()
        for content in (b"", b"no index" * 1000, whole[:-1], whole[:999], whole + b"\0", whole[9:]):
            path.write_bytes(content)
            with pytest.raises(CollectionCorrupt, match=r"vectors\.index"):
                self.load_index(path, mapped=mapped)

    def test_loading_a_damaged_file(self, filled: Any, tmp_path: Path) -> None:
        """One wrong bit anywhere is noticed."""
        path = tmp_path / "vectors.index"
        filled.save(path)
        whole = path.read_bytes()
        for place in (0, 40, len(whole) // 3, len(whole) // 2, len(whole) - 20):
            damaged = bytearray(whole)
            damaged[place] ^= 4
            path.write_bytes(damaged)
            with pytest.raises(CollectionCorrupt, match=r"vectors\.index"):
                self.load_index(path, mapped=False)

    @pytest.mark.parametrize(
        ("ids", "vectors", "message"),
        [
            ([1, 2], np.ones((2, DIMENSION + 1)), f"dimension {DIMENSION + 1}.*{DIMENSION}"),
            ([1], np.ones(DIMENSION), "shape"),
            ([1, 2], np.ones((1, DIMENSION)), "2 ids.*1 vectors"),
            ([1, 2, 1], np.eye(3, DIMENSION), "id 1 .*more than once"),
            ([1, 77], np.eye(2, DIMENSION), "id 77 .*already"),
            ([1, -1], np.eye(2, DIMENSION), "-1 is negative"),
            ([1.5, 2.0], np.eye(2, DIMENSION), "integers"),
            ([1, 2], np.full((2, DIMENSION), np.nan), "row 0.*NaN"),
            ([1, 2], [[0.5] * DIMENSION, [np.inf] * DIMENSION], "row 1"),
            ([1, 2], np.full((2, DIMENSION), 1e300), "too large"),
            ([1, 2], np.full((2, DIMENSION), "x"), "numbers"),
        ],
    )
    def test_unusable_vectors(self, ids: Any, vectors: Any, message: str, queries: Any) -> None:
        """They are refused with the reason, and none of them is added."""
        index = self.make_index(DIMENSION)
        held = sample_vectors(1)
        index.add(np.array([77]), held)
        with pytest.raises(InputError, match=message):
            index.add(ids, vectors)
        self.check(index, np.array([77]), held, queries)

    @pytest.mark.parametrize(
        ("queries", "top_k", "message"),
        [
            (np.ones((1, DIMENSION - 1)), 1, f"dimension {DIMENSION - 1}.*{DIMENSION}"),
            (np.ones(DIMENSION), 1, "shape"),
            (np.full((1, DIMENSION), np.nan), 1, "NaN"),
            (np.ones((1, DIMENSION)), 0, "top_k is 0"),
            (np.ones((1, DIMENSION)), -3, "top_k is -3"),
        ],
    )
    def test_unusable_searches(self, filled: Any, queries: Any, top_k: int, message: str) -> None:
        """They are refused with the reason."""
        with pytest.raises(InputError, match=message):
            filled.search(queries, top_k)

    @pytest.mark.parametrize(
        "convert",
        [
            lambda array: array.astype(np.float64),
            lambda array: array.astype(np.float16),
            np.asfortranarray,
            lambda array: np.repeat(array, 2, axis=0)[::2],
            lambda array: array.tolist(),
        ],
        ids=["float64", "float16", "fortran", "strided", "lists"],
    )
    def test_other_arrays_are_converted(
        self, convert: Any, ids: Any, vectors: Any, queries: Any
    ) -> None:
        """Element type and memory layout of vectors and queries make no difference."""
        index = self.make_index(DIMENSION)
        index.add(ids.tolist(), convert(vectors))
        self.check(index, ids, np.array(convert(vectors), np.float32), queries)
        hits = index.search(convert(queries), 5)
        again = index.search(np.ascontiguousarray(convert(queries), np.float32), 5)
        assert all(np.array_equal(a.ids, b.ids) for a, b in zip(hits, again, strict=True))

    def test_searches_while_another_thread_writes(
        self, filled: Any, ids: Any, vectors: Any, queries: Any
    ) -> None:
        """Each sees the index before a write or after it, never in between."""
        fixed, moving = ids[:500], ids[500:]
        writes = 10

        def write() -> None:
            for _ in range(writes):
                assert filled.remove(moving) == 500
                filled.add(moving, vectors[500:])

        def search() -> list[list[VectorHits]]:
            return [filled.search(queries[:4], 750) for _ in range(writes)]

        with ThreadPoolExecutor(4) as pool:
            searches = [pool.submit(search) for _ in range(3)]
            pool.submit(write).result()
            for found in (hits for each in searches for batch in each.result() for hits in batch):
                assert len(found.ids) in (500, 750)
                if len(found.ids) == 500:
                    assert np.array_equal(np.sort(found.ids), np.sort(fixed))
        self.check(filled, ids, vectors, queries)

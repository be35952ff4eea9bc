"""Indexes on a real GPU: the conformance suite, and what FAISS cannot do there."""

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import faiss
import numpy as np
import pytest

from rag.core.errors import Unsupported
from rag.indexes.gpu import faiss_gpu
from rag.indexes.gpu.devices import find_gpus
from rag.indexes.placement import place
from rag.indexes.vectors import create_index, load_index
from rag.testing.vector_index_conformance import DIMENSION, VectorIndexConformance, sample_vectors

GPUS = find_gpus()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPUS.free, reason=f"needs a GPU: {GPUS.missing}"),
]


class GpuConformance(VectorIndexConformance):
    device = "cuda:0"
    options: ClassVar = {}

    def make_index(self, dimension):
        return create_index(dimension, device=self.device, **self.options)

    def load_index(self, path, *, mapped):
        return load_index(path, mapped=mapped, device=self.device)


class TestFlat(GpuConformance):
    pass


class TestFlatFloat16(GpuConformance):
    score_tolerance = 1e-3
    options: ClassVar = {"codes": "float16"}


class TestFlatInt8(GpuConformance):
    recall_floor = 0.95
    score_tolerance = 0.02
    options: ClassVar = {"codes": "int8", "training": sample_vectors(100)}


class TestIvf(GpuConformance):
    recall_floor = 0.85
    options: ClassVar = {"kind": "ivf", "training": sample_vectors(1000)}


class TestIvfFloat16(GpuConformance):
    recall_floor = 0.85
    score_tolerance = 1e-3
    options: ClassVar = {"kind": "ivf", "codes": "float16", "training": sample_vectors(1000)}


class TestIvfInt8(GpuConformance):
    recall_floor = 0.85
    score_tolerance = 0.02
    options: ClassVar = {"kind": "ivf", "codes": "int8", "training": sample_vectors(1000)}


@pytest.fixture(scope="module")
def trained_pq(tmp_path_factory):
    path = tmp_path_factory.mktemp("pq") / "trained"
    training = sample_vectors(10_000, seed=9)
    index = create_index(
        DIMENSION, kind="ivf", codes="pq", size_hint=1000, training=training, device="cuda:0"
    )
    index.save(path)
    return path


class TestIvfPq(GpuConformance):
    recall_floor = 0.75
    score_tolerance = 0.15

    @pytest.fixture(autouse=True)
    def trained(self, trained_pq):
        self.path = trained_pq

    def make_index(self, dimension):
        return load_index(self.path, device=self.device)


class TestGraph(GpuConformance):
    """CAGRA where FAISS has cuVS, else exact search."""

    recall_floor = 0.95
    options: ClassVar = {"kind": "hnsw", "size_hint": 1000}


@pytest.mark.skipif(len(GPUS.free) < 2, reason="needs two GPUs")
class TestFlatOnAllGpus(GpuConformance):
    device = "cuda"


@pytest.mark.skipif(len(GPUS.free) < 2, reason="needs two GPUs")
class TestFlatInParts(GpuConformance):
    device = "cuda"

    @pytest.fixture(autouse=True)
    def small_gpus(self, monkeypatch):
        monkeypatch.setattr("rag.indexes.gpu.copying.usable", lambda gpu: 0)


@pytest.mark.skipif(len(GPUS.free) < 2, reason="needs two GPUs")
class TestIvfInParts(TestFlatInParts):
    recall_floor = 0.85
    options: ClassVar = {"kind": "ivf", "training": sample_vectors(1000)}


@pytest.fixture
def on_gpu():
    """Return an empty exact index of FAISS on the GPU."""
    return faiss_gpu.flat(0, DIMENSION, faiss.METRIC_INNER_PRODUCT)


def test_faiss_removes_nothing_there(on_gpu):
    on_gpu.add(sample_vectors(100))
    with pytest.raises(RuntimeError):
        on_gpu.remove_ids(np.arange(3))


def test_faiss_saves_nothing_there(on_gpu, tmp_path):
    on_gpu.add(sample_vectors(100))
    with pytest.raises(RuntimeError):
        faiss.write_index(on_gpu, str(tmp_path / "index"))


def test_faiss_sorts_no_more_there(on_gpu):
    on_gpu.add(sample_vectors(3000))
    with pytest.raises(RuntimeError):
        on_gpu.search(sample_vectors(1), 2049)


@pytest.mark.parametrize("top_k", [2048, 2049, 5000])
def test_more_neighbours_than_faiss_sorts(top_k):
    vectors = sample_vectors(5000)
    index = create_index(DIMENSION, device="cuda:0")
    index.add(np.arange(5000), vectors)
    (hits,) = index.search(vectors[:1], top_k)
    assert len(hits.ids) == top_k
    true = np.sort(vectors @ vectors[0])[::-1][:top_k]
    assert np.allclose(hits.scores, true, atol=1e-5)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.99])
def test_filters_return_what_they_allow(share):
    vectors = sample_vectors(20_000)
    index = create_index(DIMENSION, device="cuda:0")
    index.add(np.arange(20_000), vectors)
    allowed = np.random.default_rng(0).choice(20_000, int(20_000 * share), replace=False)
    for query, hits in zip(vectors[:9], index.search(vectors[:9], 10, allowed), strict=True):
        true = np.sort(vectors[allowed] @ query)[::-1][:10]
        assert np.isin(hits.ids, allowed).all()
        assert np.allclose(hits.scores, true, atol=1e-5)


def test_threads_share_an_index():
    vectors = sample_vectors(20_000)
    index = create_index(DIMENSION, device="cuda:0")
    index.add(np.arange(20_000), vectors)
    expected = [hits.ids[0] for hits in index.search(vectors[:200], 1)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda row: index.search(vectors[row : row + 1], 1)[0].ids[0], range(200))
    assert list(found) == expected


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_what_is_saved_opens_on_the_cpu(kind, tmp_path):
    vectors = sample_vectors(5000)
    index = create_index(DIMENSION, kind=kind, training=vectors, device="cuda:0")
    index.add(np.arange(5000), vectors)
    index.search(vectors[:1], 5)
    index.save(tmp_path / "index")
    loaded = load_index(tmp_path / "index")
    assert loaded.device == "cpu"
    found = loaded.search(vectors[:100], 1)
    assert np.mean([hits.ids[0] == row for row, hits in enumerate(found)]) > 0.9


def test_free_memory_is_told():
    assert all(each.free > 1 << 28 for each in GPUS.free)
    assert place(200_000, 384, "flat", "float32", "auto").device.startswith("cuda:")
    with pytest.raises(Unsupported, match="are free"):
        place(10**12, 384, "flat", "float32", "cuda")

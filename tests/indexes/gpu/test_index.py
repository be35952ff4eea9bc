"""Indexes searched on GPUs, over stand-ins for FAISS's GPU part that run on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.core.documents import Document
from rag.core.errors import InputError, SearchFailed, Unsupported
from rag.indexes import Collection, faiss_create, placement
from rag.indexes.gpu import copying as gpu_copy
from rag.indexes.gpu import create as gpu_create
from rag.indexes.gpu import faiss_gpu
from rag.indexes.gpu import graph as gpu_graph
from rag.indexes.gpu.copying import copies
from rag.indexes.gpu.devices import Gpu, Gpus
from rag.indexes.gpu.graph import linked
from rag.indexes.gpu.index import GpuIndex
from rag.indexes.vectors import create_index, load_index
from rag.testing import HashEmbedder
from rag.testing.vector_index_conformance import DIMENSION, VectorIndexConformance, sample_vectors
from tests.indexes.gpu.stand_ins import StandIns

ROOMY = Gpu(0, 1 << 40)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    return StandIns(monkeypatch)


def on_gpus(master, *gpus, finish=None):
    kind = "hnsw" if finish else master.kind
    return GpuIndex(master, "cuda:0", partial(copies, gpus=gpus or (ROOMY,)), kind, finish)


class GpuConformance(VectorIndexConformance):
    def load_index(self, path, *, mapped):
        return on_gpus(faiss_create.load(path, mapped=mapped))


class TestFlat(GpuConformance):
    def make_index(self, dimension):
        return on_gpus(create_index(dimension))


class TestGraph(GpuConformance):
    recall_floor = 0.95

    def make_index(self, dimension):
        return on_gpus(create_index(dimension, kind="hnsw", size_hint=1000))


class TestGraphLinkedOnTheGpu(GpuConformance):
    recall_floor = 0.95

    @pytest.fixture(autouse=True)
    def fewer_neighbours(self, monkeypatch):
        monkeypatch.setattr(gpu_graph, "_NEIGHBOURS", 32)  # half the time to add

    def make_index(self, dimension):
        return on_gpus(create_index(dimension), finish=partial(linked, number=0))


class TestClusters(GpuConformance):
    recall_floor = 0.85

    def make_index(self, dimension):
        return on_gpus(create_index(dimension, kind="ivf", training=sample_vectors(1000)))


class TestSeveralGpus(GpuConformance):
    """Each holds a part."""

    @pytest.fixture(autouse=True)
    def shards(self, monkeypatch):
        # FAISS joins its own indexes only.
        monkeypatch.setattr(
            gpu_copy.faiss_gpu, "flat", lambda _, *args, half=False: faiss.IndexFlat(*args)
        )

    def make_index(self, dimension):
        return on_gpus(create_index(dimension), Gpu(0, 0), Gpu(1, 0), Gpu(2, 0))


def filled(**options):
    index = create_index(DIMENSION, **options)
    index.add(np.arange(1000) * 3, sample_vectors(1000, seed=1))
    return index


def test_searches_go_to_the_gpu(stand_ins):
    index = on_gpus(filled())
    assert stand_ins.flats == []  # copied when first searched
    index.search(sample_vectors(5), 10)
    index.search(sample_vectors(5), 10)
    assert len(stand_ins.flats) == 1
    assert stand_ins.searches == 2


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_filter_that_leaves_enough_is_applied_to_what_the_gpu_finds(stand_ins, kind):
    master = filled(kind=kind, training=sample_vectors(1000))
    allowed = np.arange(0, 3000, 6)
    (hits,) = on_gpus(master).search(sample_vectors(1), 10, allowed)
    assert stand_ins.searches == 1
    assert np.array_equal(hits.ids, master.search(sample_vectors(1), 10, allowed)[0].ids)


def test_a_filter_that_allows_all_is_left_to_the_gpu(stand_ins):
    (hits,) = on_gpus(filled()).search(sample_vectors(1), 10, np.arange(3000))
    assert stand_ins.searches == 1
    assert len(hits.ids) == 10


def test_a_filter_that_leaves_little_is_left_to_the_cpu(stand_ins):
    index = on_gpus(filled())
    (hits,) = index.search(sample_vectors(1), 10, np.arange(0, 3000, 300))
    assert sorted(hits.ids) == list(range(0, 3000, 300))
    assert stand_ins.searches == 0


def test_more_neighbours_than_a_kernel_sorts_are_left_to_the_cpu(stand_ins, monkeypatch):
    monkeypatch.setattr(gpu_copy, "MOST", 100)
    index = on_gpus(filled())
    assert [len(each.ids) for each in index.search(sample_vectors(3), 100)] == [100] * 3
    assert stand_ins.searches == 0
    # One more than wanted is looked for, to see whether equal scores go on.
    assert [len(each.ids) for each in index.search(sample_vectors(3), 99)] == [99] * 3
    assert stand_ins.searches == 1


def test_more_clusters_than_a_kernel_probes_are_left_to_the_cpu(stand_ins, monkeypatch):
    monkeypatch.setattr(gpu_copy, "MOST", 20)
    index = on_gpus(filled(kind="ivf", training=sample_vectors(1000)))
    index.effort = 21
    index.search(sample_vectors(1), 5)
    assert stand_ins.searches == 0
    index.effort = 20
    index.search(sample_vectors(1), 5)
    assert stand_ins.searches == 1


def test_queries_for_which_too_little_was_found_are_left_to_the_cpu(stand_ins):
    index = on_gpus(filled(kind="ivf", training=sample_vectors(1000)))
    index.effort = 1
    found = index.search(sample_vectors(20), 500)
    assert [len(each.ids) for each in found] == [500] * 20


def test_effort_is_the_masters(stand_ins):
    master = filled(kind="ivf", training=sample_vectors(1000))
    index = on_gpus(master)
    index.effort = 3
    assert (index.effort, master.effort) == (3, 3)
    with pytest.raises(InputError, match="effort is 0"):
        index.effort = 0


def test_l2_scores_are_negative_squared_distances():
    index = on_gpus(filled(metric="l2"))
    (hits,) = index.search(sample_vectors(1000, seed=1)[5:6], 1)
    assert hits.ids == [15]
    assert np.allclose(hits.scores, 0, atol=1e-5)


def test_a_graph_is_linked_on_the_gpu_when_it_is_first_needed(stand_ins, tmp_path):
    index = on_gpus(filled(), finish=partial(linked, number=0))
    assert stand_ins.graphs == []
    index.save(tmp_path / "index")
    assert len(stand_ins.graphs) == 1
    loaded = load_index(tmp_path / "index")
    assert (loaded.kind, loaded.description) == ("hnsw", "HNSW32,Flat")
    assert loaded.effort == create_index(DIMENSION, kind="hnsw").effort
    vectors = sample_vectors(1000, seed=1)
    assert [hits.ids[0] for hits in loaded.search(vectors, 1)] == list(range(0, 3000, 3))


@pytest.mark.parametrize("codes", ["float16", "int8"])
def test_codes_that_no_gpu_index_holds_are_decoded(codes):
    master = filled(codes=codes, training=sample_vectors(1000))
    for ours, exact in zip(
        on_gpus(master).search(sample_vectors(9), 5),
        master.search(sample_vectors(9), 5),
        strict=True,
    ):
        assert np.array_equal(ours.ids, exact.ids)
        assert np.allclose(ours.scores, exact.scores, atol=1e-5)


def test_each_gpu_that_holds_all_searches_at_the_same_time(stand_ins):
    index = on_gpus(filled(), ROOMY, ROOMY)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: index.search(sample_vectors(2), 5), range(20)))
    assert [each.searches for each in stand_ins.flats] == [10, 10]


def test_a_write_lets_the_copies_go(stand_ins):
    index = on_gpus(filled())
    vector = sample_vectors(1, seed=9)
    index.search(vector, 1)
    index.add([1], vector)
    assert index.search(vector, 1)[0].ids == [1]
    index.remove([1])
    assert index.search(vector, 1)[0].ids != [1]
    assert len(stand_ins.flats) == 3


def test_a_gpu_without_memory_is_named_and_nothing_of_the_inside(stand_ins):
    index = on_gpus(filled())
    index.search(sample_vectors(1), 1)
    stand_ins.flats[0].failing = True
    with pytest.raises(SearchFailed, match=r"cuda:0.*memory.*device='cpu'") as caught:
        index.search(sample_vectors(1), 1)
    assert "alloc" not in str(caught.value)


def test_a_gpu_that_fails_to_build_is_named(stand_ins, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Error in virtual void* StandardGpuResourcesImpl::allocMemory")

    monkeypatch.setattr(faiss_gpu, "flat", fail)
    monkeypatch.setattr(faiss_gpu, "cagra", fail)
    monkeypatch.setattr(gpu_create, "find_gpus", lambda: Gpus((ROOMY,)))
    with pytest.raises(SearchFailed, match=r"cuda.*memory"):
        create_index(DIMENSION, kind="ivf", training=sample_vectors(1000), device="cuda")
    with pytest.raises(SearchFailed, match=r"cuda:0.*memory"):
        on_gpus(filled(), finish=partial(linked, number=0)).description  # noqa: B018


def test_a_saved_index_opens_without_a_gpu(tmp_path):
    index = on_gpus(filled())
    index.search(sample_vectors(1), 1)
    index.save(tmp_path / "index")
    loaded = load_index(tmp_path / "index")
    assert loaded.device == "cpu"
    assert loaded.search(sample_vectors(1), 3)[0].ids.tolist() == (
        index.search(sample_vectors(1), 3)[0].ids.tolist()
    )


@pytest.mark.parametrize("codes", ["float32", "int8", pytest.param("pq", marks=pytest.mark.slow)])
def test_clusters_learnt_on_a_gpu_are_those_of_the_cpu(codes):
    training = sample_vectors(10_000, seed=9)
    shape = DIMENSION, "ivf", codes, "inner_product", 1000, training
    vectors, queries = sample_vectors(1000, seed=1), sample_vectors(20, seed=3)
    found = []
    for on_gpu in (None, faiss.IndexFlat):
        index = faiss_create.create(*shape, on_gpu)
        index.add(np.arange(500), vectors[:500])
        index.add(np.arange(500, 1000), vectors[500:])
        found.append([each.ids.tolist() for each in index.search(queries, 10)])
    assert found[0] == found[1]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_filters_give_what_the_cpu_gives(data):
    count = data.draw(st.integers(1, 60))
    vectors = sample_vectors(count, seed=count)
    ids = np.array(data.draw(st.permutations(range(0, 2 * count, 2))))
    master = create_index(DIMENSION)
    master.add(ids, vectors)
    allowed = data.draw(st.lists(st.integers(0, 2 * count), max_size=2 * count))
    top_k = data.draw(st.integers(1, count + 3))
    index = on_gpus(master)
    for ours, exact in zip(
        index.search(vectors[:3], top_k, allowed),
        master.search(vectors[:3], top_k, allowed),
        strict=True,
    ):
        assert ours.ids.tolist() == exact.ids.tolist()


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="FAISS has a GPU part")
def test_asking_a_faiss_without_gpu_part_for_one():
    with pytest.raises(Unsupported, match=r"built for CPUs.*pip uninstall faiss-cpu"):
        create_index(DIMENSION, device="cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0,", ""])
def test_unknown_devices(device, tmp_path):
    with pytest.raises(InputError, match="no device"):
        create_index(DIMENSION, device=device)
    with pytest.raises(InputError, match="no device"):
        load_index(tmp_path / "index", device=device)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_collection_made_with_a_gpu_opens_without(kind, stand_ins, monkeypatch, tmp_path):
    for module in (placement, gpu_create):
        monkeypatch.setattr(module, "find_gpus", lambda: Gpus((ROOMY,), cuvs=kind == "hnsw"))
    monkeypatch.setattr(faiss_gpu, "has_cuvs", lambda: kind == "hnsw")
    if kind == "ivf":  # FAISS learns clusters with its own indexes only
        monkeypatch.setattr(faiss_gpu, "flat", lambda _, *args: faiss.IndexFlat(*args))
    embedder = HashEmbedder()
    Collection.create(tmp_path, embedder, index=kind).close()
    with Collection.open(tmp_path, embedder, writable=True, device="cuda") as collection:
        collection.add(Document(str(number), f"number {number}") for number in range(200))
        assert collection.info().placement == placement.Placement("cuda:0", "as asked for")
        assert len(stand_ins.graphs) == (kind == "hnsw")
        if kind != "hnsw":  # CAGRA has no stand-in that searches
            hits = collection.search_dense(["number 7"], 5)
            assert stand_ins.searches
    with Collection.open(tmp_path, embedder, device="cpu") as collection:
        found = collection.search_dense(["number 7"], 5)
        assert found[0][0].score > 0.99
        if kind != "hnsw":
            assert [each.passage.id for each in hits[0]] == [each.passage.id for each in found[0]]

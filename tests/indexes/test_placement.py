"""Where an index is searched: the decision, over GPUs that need not be there."""

import faiss
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import InputError, Unsupported
from rag.indexes import placement
from rag.indexes.gpu.devices import Gpu, Gpus, find_gpus
from rag.indexes.placement import decide, gpu_bytes, place, usable

GIB = 1 << 30
TWO = Gpus((Gpu(0, 8 * GIB), Gpu(1, 16 * GIB)))
NONE = Gpus((), "FAISS sees no GPU", "look for one")


def unasked():
    raise AssertionError("no GPU was to be looked for")


@pytest.mark.parametrize(
    ("size", "device", "reason"),
    [
        (1 * GIB, "cuda:1", "1.1 GB fit there"),
        (10 * GIB, "cuda:1", "10.7 GB fit there"),
        (18 * GIB, "cuda:0,1", "19.3 GB fit there"),
        (30 * GIB, "cpu", "32.2 GB do not fit the 22.1 GB free on GPUs"),
    ],
)
def test_auto_takes_as_few_gpus_as_hold_the_index(size, device, reason):
    assert decide(size, "auto", TWO) == placement.Placement(device, reason)


def test_auto_without_gpus_is_the_cpu():
    assert decide(GIB, "auto", NONE) == placement.Placement("cpu", "FAISS sees no GPU")


def test_a_small_index_stays_on_the_cpu(monkeypatch):
    monkeypatch.setattr(placement, "find_gpus", unasked)
    found = place(99_999, 384, "flat", "float32", "auto")
    assert (found.device, found.reason) == ("cpu", "99,999 vectors; GPUs pay from 100,000 on")


def test_the_cpu_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(placement, "find_gpus", unasked)
    assert place(10**9, 384, "flat", "float32", "cpu").device == "cpu"


def test_a_large_index_goes_to_a_gpu(monkeypatch):
    monkeypatch.setattr(placement, "find_gpus", lambda: TWO)
    assert place(1_000_000, 384, "flat", "float32", "auto").device == "cuda:1"


@pytest.mark.parametrize(
    ("asked", "device"),
    [("cuda", "cuda:0,1"), ("cuda:0", "cuda:0"), ("cuda:1,0", "cuda:0,1")],
)
def test_gpus_that_are_named(asked, device):
    assert decide(GIB, asked, TWO) == placement.Placement(device, "as asked for")


@pytest.mark.parametrize(
    ("size", "device", "gpus", "message"),
    [
        (GIB, "cuda", NONE, "'cuda'.*sees no GPU; look for one"),
        (GIB, "cuda:2", TWO, "'cuda:2'; it sees 2 GPUs"),
        (30 * GIB, "cuda", TWO, "32.2 GB: 22.1 GB are free"),
    ],
)
def test_what_cannot_be_had_is_refused(size, device, gpus, message):
    with pytest.raises(Unsupported, match=message):
        decide(size, device, gpus)


def test_codes_that_faiss_does_not_hold_on_a_gpu(monkeypatch):
    monkeypatch.setattr(placement, "find_gpus", lambda: TWO)
    monkeypatch.setattr(placement, "pq_parts", lambda dimension: 192)
    shape = 10**6, 384, "ivf", "pq"
    found = place(*shape, "auto")
    assert found.device == "cpu"
    assert "192 bytes" in found.reason
    with pytest.raises(Unsupported, match=r"192 bytes.*cuvs.*int8"):
        place(*shape, "cuda")
    monkeypatch.setattr(placement, "find_gpus", lambda: TWO._replace(cuvs=True))
    assert place(*shape, "cuda:1").device == "cuda:1"


def test_unknown_devices():
    with pytest.raises(InputError, match="no device 'tpu'"):
        place(1, 384, "flat", "float32", "tpu")


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="FAISS has a GPU part")
def test_a_faiss_for_cpus_is_told_from_one_without_gpus():
    assert find_gpus().missing == "the FAISS installed here is built for CPUs"
    assert place(10**6, 384, "flat", "float32", "auto").device == "cpu"


def test_bytes_of_each_kind():
    size = 1000, 384
    assert gpu_bytes(*size, "flat", "float32", cuvs=False) == 1000 * 384 * 4
    assert gpu_bytes(*size, "ivf", "float16", cuvs=False) == 1000 * (384 * 2 + 8)
    assert gpu_bytes(*size, "ivf", "int8", cuvs=False) == 1000 * (384 + 8)
    assert gpu_bytes(*size, "hnsw", "float32", cuvs=True) == 1000 * (384 * 4 + 64 * 4)


@given(
    st.lists(st.integers(0, 100 * GIB), min_size=1, max_size=8),
    st.integers(0, 400 * GIB),
)
def test_auto_always_decides_and_never_takes_a_gpu_too_many(free, size):
    gpus = Gpus(tuple(Gpu(number, each) for number, each in enumerate(free)))
    room = sorted((usable(each) for each in gpus.free), reverse=True)
    found = decide(size, "auto", gpus)
    assert found.reason
    if found.device == "cpu":
        assert size > sum(room)
    else:
        taken = found.device.count(",") + 1
        assert sum(room[: taken - 1]) < size or taken == 1

"""What goes wrong with bare FAISS: crashes, hangs and silently wrong results. Never with us."""

import os
import signal
import subprocess
import sys
import textwrap

import faiss
import numpy as np
import pytest

from rag.core.errors import InputError
from rag.indexes.faiss_kinds import FlatIndex
from rag.indexes.vectors import create_index, load_index
from rag.testing.vector_index_conformance import DIMENSION, sample_vectors

KINDS = ["flat", "hnsw", "ivf"]


def filled(kind="flat", count=200):
    vectors = sample_vectors(count)
    index = create_index(DIMENSION, kind=kind, training=vectors)
    index.add(range(count), vectors)
    return index


def run(code, **environment):
    """Run code in a process of its own, which may hang or die without harm to the others."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_top_k_above_the_number_of_vectors_gives_no_id_of_minus_one(kind):
    (hits,) = filled(kind, 3).search(sample_vectors(1), 10)
    assert sorted(hits.ids) == [0, 1, 2]
    assert (np.abs(hits.scores) <= 1.001).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_index_gives_no_id_of_minus_one(kind):
    (hits,) = filled(kind, 0).search(sample_vectors(1), 10)
    assert len(hits.ids) == len(hits.scores) == 0


def test_probed_lists_with_too_few_vectors_do_not_shorten_the_result():
    index = filled("ivf", 2000)
    assert (index.description, index.effort) == ("IVF51,Flat", 28)
    (hits,) = index.search(sample_vectors(1), 1900)
    assert len(set(hits.ids)) == 1900
    assert hits.ids.min() >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_duplicate_ids_are_refused(kind):
    index = filled(kind)
    with pytest.raises(InputError, match="already"):
        index.add([199], sample_vectors(1))
    with pytest.raises(InputError, match="more than once"):
        index.add([500, 500], sample_vectors(2))
    assert len(index) == 200


def test_flat_removal_renumbers_positions_but_not_ids():
    index, vectors = filled("flat"), sample_vectors(200)
    index.remove(range(0, 200, 2))
    assert [hits.ids[0] for hits in index.search(vectors[1::2], 1)] == list(range(1, 200, 2))


def test_hnsw_removal_works():
    index, vectors = filled("hnsw"), sample_vectors(200)
    assert index.remove(range(190)) == 190
    (hits,) = index.search(vectors[:1], 200)
    assert sorted(hits.ids) == list(range(190, 200))


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_refused_in_vectors_and_queries(kind):
    index, vectors = filled(kind), sample_vectors(2)
    vectors[1, 3] = np.nan
    with pytest.raises(InputError, match="row 1 of vectors holds NaN"):
        index.add([500, 501], vectors)
    with pytest.raises(InputError, match="row 1 of queries holds NaN"):
        index.search(vectors, 1)
    assert len(index) == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_dimension_names_both(kind):
    with pytest.raises(InputError, match=f"queries have dimension 7; the index has {DIMENSION}"):
        filled(kind).search(np.ones((1, 7)), 1)


@pytest.mark.parametrize("samples", [0, 1, 10, 300])
@pytest.mark.parametrize(
    ("kind", "codes"), [("flat", "int8"), ("ivf", "float32"), ("ivf", "int8"), ("ivf", "pq")]
)
def test_few_training_vectors_give_fewer_clusters_not_an_error(kind, codes, samples, capfd):
    vectors = sample_vectors(300)
    index = create_index(
        DIMENSION, kind=kind, codes=codes, size_hint=10**6, training=vectors[:samples]
    )
    index.add(range(300), vectors)
    found = index.search(vectors, 1)
    assert sum(hits.ids[0] == row for row, hits in enumerate(found)) > 290
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_to_a_mapped_index_does_not_abort_the_process(kind, tmp_path):
    filled(kind).save(tmp_path / "index")
    result = run(f"""
        from pathlib import Path
        import numpy as np
        from rag.core.errors import InputError
        from rag.indexes.vectors import load_index

        index = load_index(Path({str(tmp_path / "index")!r}), mapped=True)
        vector = np.ones((1, {DIMENSION}))
        for write in (lambda: index.add([999], vector), lambda: index.remove([1])):
            try:
                write()
            except InputError as error:
                print(error)
        print(len(index))
    """)
    assert result.returncode == 0
    assert result.stdout.count("read-only") == 2
    assert result.stdout.endswith("200\n")


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_mapping_leaves_vectors_in_the_file(kind, tmp_path):
    # FAISS's IO_FLAG_MMAP reads flat vectors into memory all the same.
    filled(kind).save(tmp_path / "index")
    for mapped in (False, True):
        index = load_index(tmp_path / "index", mapped=mapped)
        assert index._flat.codes.is_owned is not mapped


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("kind", KINDS)
def test_a_forked_child_does_not_hang(kind):
    result = run(
        f"""
        import os, signal
        from rag.indexes.vectors import create_index
        from rag.testing.vector_index_conformance import sample_vectors

        vectors = sample_vectors(1000)
        index = create_index(16, kind={kind!r}, training=vectors)
        index.add(range(1000), vectors)
        index.search(vectors, 5)  # starts OpenMP's threads, which the child will lack
        child = os.fork()
        if not child:
            signal.alarm(50)  # or it would outlive a test that fails
            index.add(range(1000, 1500), vectors[:500])
            assert len(index.search(vectors, 5)) == 1000
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
        OMP_NUM_THREADS="2",
    )
    assert result.stdout == "7\n", result.stderr


def test_one_thread_for_a_request_and_the_callers_number_for_a_batch(monkeypatch):
    used = []

    def spy(self, *args, **kwargs):
        used.append(faiss.omp_get_max_threads())
        return nearest(self, *args, **kwargs)

    nearest = FlatIndex._nearest
    monkeypatch.setattr(FlatIndex, "_nearest", spy)
    index, queries = filled(), sample_vectors(100)
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        index.search(queries[:1], 5)
        index.search(queries, 5)
        assert used == [1, 3]
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
@pytest.mark.parametrize(("kind", "codes"), [("hnsw", "float32"), ("ivf", "pq")])
def test_an_interrupted_add_adds_nothing(kind, codes):
    # Ctrl-C stops FAISS half way: some vectors are in, or all of them without their ids.
    vectors = sample_vectors(200)
    training = sample_vectors(10_000)
    index = create_index(DIMENSION, kind=kind, codes=codes, size_hint=1, training=training)
    index.add(range(200), vectors)
    late = np.repeat(sample_vectors(50_000, seed=5), 10, axis=0)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)  # seconds of computing, far fewer than needed
    try:
        with pytest.raises(KeyboardInterrupt):
            index.add(range(1000, 1000 + len(late)), late)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert index.ids().tolist() == list(range(200))
    index.add(range(1000, 1100), late[:100])
    assert len(index) == 300
    found = index.search(vectors, 300)
    assert all(sorted(hits.ids) == index.ids().tolist() for hits in found)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of files")
def test_a_full_disk_loses_nothing(tmp_path):
    # FAISS's own writer does not report what fails when it closes the file.
    path = tmp_path / "index"
    filled().save(path)
    for missing in (1, 4000, 100_000):
        result = run(f"""
            import resource
            from pathlib import Path
            from rag.core.errors import StorageError
            from rag.indexes.vectors import create_index
            from rag.testing.vector_index_conformance import sample_vectors

            path = Path({str(path)!r})
            index = create_index(16)
            index.add(range(2000), sample_vectors(2000))
            index.save(path.with_name("whole"))
            size = path.with_name("whole").stat().st_size - {missing}
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            try:
                index.save(path)
            except StorageError as error:
                print(error)
        """)
        assert "could not be saved" in result.stdout, result.stderr
        assert str(path) in result.stdout
        assert len(load_index(path)) == 200
        assert sorted(each.name for each in tmp_path.iterdir()) == ["index", "whole"]

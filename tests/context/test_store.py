from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
import torch

from rag.context.store import ContextStore
from rag.core.errors import CollectionLocked, InputError, ModelError, StorageError
from tests.context.writers import (
    ONE,
    PREFIX,
    PROCESSES,
    hold,
    put,
    same,
    scribbled,
    store_in,
    write,
    write_and_die,
    written,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_states_come_back_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tokens, states, source = written(1, dtype=dtype)
    store = store_in(tmp_path)
    assert store.get(PREFIX, tokens) is None
    assert same(store.put(PREFIX, tokens, states, source), states)
    assert same(store.get(PREFIX, tokens), states)
    assert same(store_in(tmp_path).get(PREFIX, tokens), states)
    assert store.rejected == {}


def test_int8_comes_back_as_it_was_written_and_apart_from_states_as_computed(
    tmp_path: Path,
) -> None:
    rounded, exact = store_in(tmp_path, int8=True), store_in(tmp_path)
    kept = rounded.put(PREFIX, ONE.tokens, ONE.states)
    assert exact.get(PREFIX, ONE.tokens) is None
    exact.put(PREFIX, ONE.tokens, ONE.states)
    found = rounded.get(PREFIX, ONE.tokens)
    assert found is not None
    assert same(found, kept.states)
    assert torch.equal(found.scales, kept.scales)
    assert same(exact.get(PREFIX, ONE.tokens), ONE.states)
    info = exact.info()
    assert (info.entries, info.int8, info.rejected) == (2, 1, 0)


def test_a_prefix_is_an_entry_of_its_own(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.put((), ONE.tokens, ONE.states)
    assert same(store.get((), ONE.tokens), ONE.states)
    assert store.get(PREFIX, ONE.tokens) is None


def test_states_that_do_not_belong_to_the_tokens_are_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with pytest.raises(InputError, match="7 tokens were given for 6"):
        store.put(PREFIX, ONE.tokens[1:], ONE.states)
    with pytest.raises(ModelError):
        store.put(PREFIX, ONE.tokens, ONE.states * float("inf"))
    assert store.info().entries == 0


@pytest.mark.parametrize("prefix", [(), (1, 2), (1, 2, 4), (1, 2, 3, *ONE.tokens)])
def test_states_after_another_prefix_are_not_found(tmp_path: Path, prefix: tuple[int, ...]) -> None:
    store = store_in(tmp_path)
    put(store)
    assert store.get(prefix, ONE.tokens) is None
    assert same(store.get(PREFIX, ONE.tokens), ONE.states)


def test_a_writer_that_is_killed_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    put(store_in(tmp_path))
    writer = PROCESSES.Process(target=write_and_die, args=(tmp_path, 2))
    writer.start()
    writer.join()
    assert writer.exitcode == -9
    store = store_in(tmp_path)
    (partial,) = store.path.rglob("*.partial-*")
    assert store.get(PREFIX, written(2).tokens) is None
    assert same(store.get(PREFIX, ONE.tokens), ONE.states)
    # It may be that of a writer at work, until nobody has touched it for long.
    assert (store.info().leftovers, store.prune(["source 1"])) == (0, (0, 0))
    assert partial.exists()
    os.utime(partial, (time.time() - 4000,) * 2)
    assert store.info().leftovers == 1
    assert store.verify().entries == 1
    assert not partial.exists()


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "wait", [pytest.param(0.0, marks=SLOW), 0.003, pytest.param(0.01, marks=SLOW)]
)
def test_a_writer_may_be_killed_at_any_moment(tmp_path: Path, wait: float) -> None:
    ours, theirs = PROCESSES.Pipe()
    writer = PROCESSES.Process(target=write, args=(tmp_path, range(10_000), theirs))
    writer.start()
    done = [ours.recv() for _ in range(5)]
    time.sleep(wait)
    writer.kill()
    writer.join()
    while ours.poll():
        done.append(ours.recv())
    store = store_in(tmp_path)
    for number in range(len(done) + 2):
        tokens, states, _ = written(number, 2000)
        found = store.get(PREFIX, tokens)
        assert same(found, states) or (found is None and number not in done)
    assert store.rejected == {}


def test_readers_and_a_pruner_beside_a_writer(tmp_path: Path) -> None:
    _, theirs = PROCESSES.Pipe()
    numbers = range(20)
    expected = [written(number, 2000) for number in numbers]
    store = store_in(tmp_path)
    ended = Event()
    wrong: list[object] = []

    def repeat(work: Callable[[], None]) -> None:
        try:
            while not ended.is_set():
                work()
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    def read() -> None:
        for tokens, states, _ in expected:
            found = store.get(PREFIX, tokens)
            if found is not None and not same(found, states):
                wrong.append(tokens)

    def prune() -> None:
        store.prune([f"source {number}" for number in numbers[10:]])

    threads = [Thread(target=repeat, args=[work]) for work in (read, read, prune)]
    writer = PROCESSES.Process(target=write, args=(tmp_path, numbers, theirs))
    writer.start()
    for thread in threads:
        thread.start()
    writer.join()
    ended.set()
    for thread in threads:
        thread.join()
    prune()
    assert (wrong, store.rejected, writer.exitcode) == ([], {}, 0)
    found = [store.get(PREFIX, tokens) is not None for tokens, _, _ in expected]
    assert found == [False] * 10 + [True] * 10


def test_pruning_keeps_prefixes_and_what_is_in_use(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    path, size = put(store), put(store, written(2)).stat().st_size
    store.put((), PREFIX, ONE.states[:, :, :, :3])
    mapped = store.get(PREFIX, written(2).tokens)
    assert store.prune(["source 1"]) == (1, size)
    assert path.exists()
    assert same(mapped, written(2).states)
    assert store.get(PREFIX, written(2).tokens) is None
    assert store.get((), PREFIX) is not None


def test_sources_are_those_of_contexts_that_would_be_found(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.sources(PREFIX) == set()
    put(store)
    put(store, written(2))
    store.put((), PREFIX, ONE.states[:, :, :, :3])
    assert store.sources(PREFIX) == {"source 1", "source 2"}
    assert store.sources(()) == set()
    assert store_in(tmp_path, int8=True).sources(PREFIX) == set()


def test_verify_removes_what_is_not_as_it_was_written(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    good, changed, cut, moved = (put(store, written(number)) for number in range(4))
    changed.write_bytes(scribbled(changed.read_bytes()))
    cut.write_bytes(cut.read_bytes()[:100])
    moved = moved.rename(moved.with_stem("0" * 64))
    calls: list[tuple[str, int, int | None]] = []
    info = store.info()
    assert (info.entries, info.rejected, info.tokens) == (2, 2, 14)  # the header of one is whole
    found = store.verify(lambda *call: calls.append(call))
    assert (found.entries, found.bytes) == (1, good.stat().st_size)
    assert set(found.rejected) == {changed, cut, moved}
    assert "checksum" in found.rejected[changed]
    assert calls == [("verifying", number, 4) for number in range(1, 5)]
    assert store.verify() == (1, good.stat().st_size, {})
    assert list(store.path.rglob("*.safetensors")) == [good]


def test_clear_removes_everything_but_the_calibration(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.clear() == (0, 0)
    store.record({"temperature": 0.5})
    size = put(store).stat().st_size
    put(store, written(2)).write_bytes(b"broken")
    assert store.clear() == (1, size)
    info = store.info()
    assert (info.entries, info.rejected, info.bytes) == (0, 0, 0)
    assert store.calibration == {"temperature": 0.5}


def test_info_of_each_model_in_a_folder(tmp_path: Path) -> None:
    assert ContextStore.models_in(tmp_path / "none") == []
    one, two = store_in(tmp_path), store_in(tmp_path, revision="r2")
    path = put(one)
    put(two, written(2)), put(two, written(3))
    calibrated = ContextStore(tmp_path, "../..", "r")
    calibrated.record({})
    (tmp_path / "unrelated" / "folder").mkdir(parents=True)
    found = {(each.model, each.revision): each for each in ContextStore.models_in(tmp_path)}
    assert {names: each.entries for names, each in found.items()} == {
        ("some/model", "r1"): 1,
        ("some/model", "r2"): 2,
        ("../..", "r"): 0,
    }
    assert found["some/model", "r1"] == one.info()
    assert (one.info().bytes, one.info().tokens) == (path.stat().st_size, 7)
    assert {each.path.parent for each in (one, two, calibrated)} == {tmp_path}


def test_a_calibration_is_kept_for_one_model(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert (store.calibration, store.info().manifest) == (None, "")
    calibration = {"temperature": 0.7, "scale": 0.9, "table": [{"T": 1, "f1": None}]}
    store.record({"temperature": 1.0})
    store.record(calibration)
    assert store_in(tmp_path).calibration == calibration
    other = store_in(tmp_path, revision="r2")
    assert other.calibration is None
    other.path.mkdir()
    shutil.copy(store.path / "manifest.json", other.path)
    assert other.calibration is None
    assert other.info().manifest == "it is of some/model, revision r1"
    assert not list(tmp_path.rglob("*.partial-*"))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 2, "model": "m", "revision": "r"}', b"0" * 9999],
)
def test_a_malformed_manifest_is_said_and_replaced(tmp_path: Path, content: bytes) -> None:
    store = store_in(tmp_path)
    put(store)
    (store.path / "manifest.json").write_bytes(content)
    assert store.calibration is None
    assert store.info().manifest
    assert [each.manifest for each in ContextStore.models_in(tmp_path)] == [store.info().manifest]
    store.record({"scale": 1})
    assert (store.calibration, store.info().manifest) == ({"scale": 1}, "")


def test_one_process_at_a_time_maintains_a_store(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    ours, theirs = PROCESSES.Pipe()
    holder = PROCESSES.Process(target=hold, args=(tmp_path, theirs))
    holder.start()
    ours.recv()
    for change in (store.verify, store.clear, lambda: store.prune([]), lambda: store.record({})):
        with pytest.raises(CollectionLocked, match="another process"):
            change()
    put(store)
    assert same(store.get(PREFIX, ONE.tokens), ONE.states)
    holder.kill()
    holder.join()
    with store.writing():
        assert store.prune([]).entries == 1


@contextmanager
def small_files_only() -> Iterator[None]:
    """Let the disk refuse files of more than 2,000 bytes, which pytest's own output may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_refused_write_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    refused = pytest.raises(StorageError, match=r"\.safetensors: cannot be written: .*; make room")
    with small_files_only(), refused:
        store.put(PREFIX, ONE.tokens, ONE.states)
    with small_files_only(), pytest.raises(StorageError, match="cannot be written"):
        store.record({"text": "word " * 1000})
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.path.write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        store.put(PREFIX, ONE.tokens, ONE.states)
    with pytest.raises(StorageError, match="cannot be written"), store.writing():
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads and writes everything")
def test_what_may_not_be_read_or_written_is_a_storage_error(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    path = put(store)
    path.chmod(0)
    with pytest.raises(StorageError, match=r"cannot be read: Permission denied; .* allow access"):
        store.get(PREFIX, ONE.tokens)
    path.chmod(0o600)
    path.parent.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written: Permission denied"):
        store.put(PREFIX, ONE.tokens, ONE.states)
    path.write_bytes(b"broken")
    assert store.get(PREFIX, ONE.tokens) is None
    assert path in store.rejected
    with pytest.raises(StorageError, match="cannot be removed: Permission denied"):
        store.clear()
    path.parent.chmod(0o700)

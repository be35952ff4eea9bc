from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.context.entry import EntryKey
from rag.context.store import ContextStore
from tests.context.writers import ONE, PREFIX, put, same, scribbled, store_in


def refuses(store: ContextStore, path: Path, reason: str) -> None:
    """Check that a file is not used, is counted, is removed, and can be written anew."""
    assert store.get(PREFIX, ONE.tokens) is None
    assert list(store.rejected) == [path]
    assert reason in store.rejected[path]
    assert not path.exists()
    store.put(PREFIX, ONE.tokens, ONE.states)
    assert same(store.get(PREFIX, ONE.tokens), ONE.states)


def test_what_is_found_may_be_changed_without_harm_to_the_file(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    put(store)
    found = store.get(PREFIX, ONE.tokens)
    assert found is not None
    found.states.zero_()
    assert same(store.get(PREFIX, ONE.tokens), ONE.states)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_states_are_mapped_and_not_read_into_memory(tmp_path: Path) -> None:
    tokens = tuple(range(512))
    states = torch.ones(2, 16, 4, 512, 128, dtype=torch.bfloat16)
    store = store_in(tmp_path)
    store.put(PREFIX, tokens, states)
    before = own_memory()
    found = store.get(PREFIX, tokens)
    assert own_memory() - before < states.nbytes / 4
    assert same(found, states)


def own_memory() -> int:
    """Return the bytes of this process that are no pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.parametrize(
    ("prefix", "tokens"),
    [
        ((1, 2, 4), ONE.tokens),
        ((1, 2), (3, *ONE.tokens)),
        (PREFIX, (*ONE.tokens[:-1], 99)),
    ],
)
def test_a_collision_of_hashes_serves_no_other_states(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefix: tuple[int, ...],
    tokens: tuple[int, ...],
) -> None:
    monkeypatch.setattr(EntryKey, "digest", "0" * 64)
    store = store_in(tmp_path)
    path = put(store)
    assert store.get(prefix, tokens) is None
    assert store.rejected == {path: "it is of other tokens"}
    assert store_in(tmp_path, revision="r2").get(PREFIX, ONE.tokens) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), int8=st.booleans())
def test_a_changed_byte_is_never_served(
    tmp_path: Path, place: float, flip: int, int8: bool
) -> None:
    store = store_in(tmp_path, int8=int8)
    store.clear()
    path = put(store)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    # Only what pads the header may change and do no harm.
    if found := store.get(PREFIX, ONE.tokens):
        assert torch.equal(found.states, store.put(PREFIX, ONE.tokens, ONE.states).states)
        assert path not in store.rejected
    else:
        assert path in store.rejected
        assert not path.exists()


def test_a_file_that_changes_after_it_was_checked_is_checked_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    path = put(store)
    assert same(store.get(PREFIX, ONE.tokens), ONE.states)
    path.write_bytes(scribbled(path.read_bytes()))
    os.utime(path, (0, 0))  # the clock of some file systems ticks slowly
    refuses(store, path, "its checksum differs")


def test_a_truncated_file_is_not_used(tmp_path: Path) -> None:
    content = put(store_in(tmp_path)).read_bytes()
    for length in {*range(20), *range(20, len(content), 97), len(content) - 1}:
        store = store_in(tmp_path / str(length))
        path = put(store)
        path.write_bytes(content[:length])
        refuses(store, path, "no whole safetensors file")


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "zeros": (lambda content: bytes(len(content)), "no whole safetensors file"),
    "other states": (scribbled, "its checksum differs"),
    "zeros at the end": (lambda content: content[:-900] + bytes(900), "not that of its tokens"),
    "garbage": (lambda content: os.urandom(len(content)), "no whole safetensors file"),
    "longer": (lambda content: content + b"0", "no whole safetensors file"),
    "another format": (
        lambda content: content.replace(b'"format":"1"', b'"format":"9"'),
        "its format is 9, not 1",
    ),
    "other numbers": (lambda content: content.replace(b'"F32"', b'"I32"'), "together"),
    "another shape": (lambda content: content.replace(b"[2,3,2,", b"[2,2,3,"), "checksum"),
    "another source": (lambda content: content.replace(b"source 1", b"source 2"), "checksum"),
    "no model": (lambda content: content.replace(b'"model"', b'"madel"'), "it has no 'model'"),
    "no states": (lambda content: content.replace(b'"states"', b'"stages"'), "it has no 'states'"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_something_else_is_not_used(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    store = store_in(tmp_path)
    path = put(store)
    path.write_bytes(damage(path.read_bytes()))
    refuses(store, path, reason)


def test_a_folder_in_the_place_of_a_file_is_not_used(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    path = put(store)
    path.unlink()
    (path / "below").mkdir(parents=True)
    refuses(store, path, "it is a folder")


@pytest.mark.parametrize(
    "other",
    [{"revision": "r2"}, {"int8": True}],
    ids=["revision", "int8"],
)
def test_a_file_copied_from_elsewhere_is_not_used(tmp_path: Path, other: dict[str, Any]) -> None:
    store = store_in(tmp_path)
    path = put(store)
    shutil.copy(put(store_in(tmp_path / "other", **other)), path)
    refuses(store, path, "r2" if "revision" in other else "its name is not that of its tokens")

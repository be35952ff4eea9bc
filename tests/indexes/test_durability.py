from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.core.documents import Document
from rag.core.errors import CollectionError, CollectionNotFound, StorageError
from rag.indexes import Collection
from tests.indexes.crashing import (
    EMBEDDER,
    PROCESSES,
    Add,
    Compact,
    Operation,
    Remove,
    allowed_states,
    change_and_exit_at,
    check,
    kill_at_random,
)

DOCUMENTS = tuple(Document(f"d{n}", f"common words {n}") for n in range(4))
CHANGED = tuple(Document(f"d{n}", f"common words changed {n}") for n in range(3))
STATE = {each.id: each.text for each in DOCUMENTS}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        collection.add(DOCUMENTS)
    return tmp_path / "c"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killing_the_writer_loses_nothing_and_leaves_nothing_half_done(
    tmp_path: Path, seed: int
) -> None:
    assert kill_at_random(tmp_path / "c", rounds=12, seed=seed) >= 12


@pytest.mark.parametrize("finish", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "place",
    [
        "rag.indexes.store.Store.vacuum",
        "rag.indexes.derived_lexical.DerivedLexical.catch_up",
        "rag.indexes.derived_lexical.DerivedLexical._discard",
        "rag.indexes.derived_vectors.DerivedVectors.save",
        "rag.indexes.derived_vectors.DerivedVectors.renew",
        "rag.indexes.faiss_file._ChecksummedWriter.write",
        "rag.indexes.lexical.LexicalIndex.update",
        "os.fsync",
        "os.replace",
        "os.unlink",
    ],
)
@pytest.mark.parametrize(
    "operation", [Add(CHANGED), Remove(("d1", "d3")), Compact()], ids=["add", "remove", "compact"]
)
def test_ending_at_each_step(path: Path, operation: Operation, place: str, finish: bool) -> None:
    log = path.with_name("log")
    writer = PROCESSES.Process(
        target=change_and_exit_at, args=(path, [operation], log, place), kwargs={"finish": finish}
    )
    writer.start()
    writer.join()
    assert writer.exitcode in (0, 9)
    allowed = allowed_states(STATE, iter([operation]), log)
    check(path, allowed, writable=False)
    check(path, allowed, writable=True)


@pytest.mark.parametrize("finish", [False, True], ids=["before", "after"])
def test_ending_before_the_manifest_is_there_leaves_no_collection(
    tmp_path: Path, finish: bool
) -> None:
    writer = PROCESSES.Process(target=_create_and_exit, args=(tmp_path / "c", finish))
    writer.start()
    writer.join()
    if finish:
        check(tmp_path / "c", [{}], writable=True)
    else:
        with pytest.raises(CollectionNotFound):
            Collection.open(tmp_path / "c")
        Collection.create(tmp_path / "c", EMBEDDER).close()


def _create_and_exit(path: Path, finish: bool) -> None:
    replace = os.replace

    def exit_there(*args: Any, **kwargs: Any) -> None:
        if finish:
            replace(*args, **kwargs)
        os._exit(9)

    os.replace = exit_there
    Collection.create(path, EMBEDDER)


@pytest.mark.parametrize("damage", ["delete", "truncate", "scribble"])
@pytest.mark.parametrize("part", ["vectors-*.faiss", "lexical/meta.json", "lexical/*.term"])
def test_a_damaged_index_is_built_anew(path: Path, part: str, damage: str) -> None:
    files = list(path.glob(part))
    assert files
    for file in files:
        if damage == "delete":
            file.unlink()
        elif damage == "truncate":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        else:
            file.write_bytes(b"\x99" * file.stat().st_size)
    check(path, [STATE], writable=False)


def test_an_index_newer_than_a_restored_store_is_built_anew(path: Path, tmp_path: Path) -> None:
    shutil.copy(path / "store.sqlite", tmp_path / "backup")
    with Collection.open(path, EMBEDDER, writable=True) as collection:
        collection.add([Document("later", "common words later")])
    shutil.copy(tmp_path / "backup", path / "store.sqlite")
    check(path, [STATE], writable=False)
    with Collection.open(path, EMBEDDER, writable=True) as collection:
        collection.add([Document("other", "common words other")])
    check(path, [{**STATE, "other": "common words other"}], writable=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory on a file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "c"
    state = {}
    with Collection.create(path, EMBEDDER) as collection:

        def fill() -> None:
            for n in range(10_000):
                document = Document(f"d{n}", "common words " + f"filler{n} " * 100)
                collection.add([document])
                state[document.id] = document.text

        with pytest.raises(StorageError, match=r"full|No space"):
            fill()
        assert state
        committed = {each.id for each in collection.documents()}
        assert committed >= set(state)
        # With room again, the same object goes on.
        subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
        collection.remove(committed - set(state))
        collection.add([Document("more", "common words more")])
    whole = {**state, "more": "common words more"}
    with Collection.open(path, EMBEDDER) as collection:
        assert {each.id: collection.document(each.id).text for each in collection.documents()} == (
            whole
        )
        assert collection.verify().problems == ()


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """Let no file of this process grow beyond 200 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("file_size_limit")
def test_a_refused_write_is_a_storage_error(path: Path) -> None:
    with Collection.open(path, EMBEDDER, writable=True) as collection:
        with pytest.raises(StorageError):
            collection.add([Document("big", "words " * 50_000)])
        assert len(list(collection.documents())) == len(STATE)
    check(path, [STATE], writable=True)


READ_ONLY = """
import sys
from pathlib import Path
from rag.core.documents import Document
from rag.core.errors import StorageError
from rag.indexes import Collection
from tests.indexes.crashing import EMBEDDER, check

path = Path(sys.argv[1])
expected = {f"d{n}": f"common words {n}" for n in range(4)}
check(path, [expected], writable=False)
for act in (
    lambda: Collection.open(path, EMBEDDER, writable=True),
    lambda: Collection.create(path / "inside", EMBEDDER),
):
    try:
        act()
    except StorageError as error:
        print(error)
    else:
        sys.exit("it was written")
"""


def in_read_only(path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script on a directory that its process may not write."""
    command = [sys.executable, "-c", script, str(path)]
    if os.getuid() == 0:
        # Permissions do not bind root, so the directory is mounted read-only in a name space.
        inner = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", inner, str(path), *command]
    else:
        for folder in (path, path / "lexical"):
            folder.chmod(0o555)
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode == 1 and "unshare" in ran.stderr:
        pytest.skip("root without the right to mount cannot make anything read-only")
    return ran


@pytest.mark.parametrize("missing", ["nothing", "lexical", "vectors"])
def test_a_read_only_directory_is_searched_and_not_written(path: Path, missing: str) -> None:
    if missing == "lexical":
        shutil.rmtree(path / "lexical")
        (path / "lexical").mkdir()
    elif missing == "vectors":
        next(path.glob("vectors-*")).unlink()
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    ran = in_read_only(path, READ_ONLY)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("cannot be") == 2
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_a_read_only_directory_after_a_crash_says_what_to_do(path: Path) -> None:
    writer = PROCESSES.Process(
        target=change_and_exit_at,
        args=(path, [Add(CHANGED)], path.with_name("log"), "rag.indexes.store.Store.close"),
        kwargs={"finish": False},
    )
    writer.start()
    writer.join()
    (path / "store.sqlite-shm").unlink()
    script = (
        "import sys; from rag.indexes import Collection; from rag.core.errors import StorageError\n"
        "try: Collection.open(sys.argv[1])\n"
        "except StorageError as error: print(error)"
    )
    ran = in_read_only(path, script)
    assert "allow access" in ran.stdout, ran.stderr


def test_a_missing_store_is_a_typed_error(path: Path) -> None:
    (path / "store.sqlite").unlink()
    with pytest.raises(CollectionError):
        Collection.open(path)

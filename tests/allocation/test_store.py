import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.allocation.observations import Observation
from rag.allocation.store import ObservationStore
from rag.core.allocations import Allocation
from rag.core.errors import InputError, StorageError
from tests.allocation.test_observations import observations

SETUP = {"llm": "echo", "prompts": "p1"}
ONE = Observation("hotpotqa", "DRAG", Allocation(5, 2), "q1", {"EM": 1.0}, answer="Ålesund")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile.sqlite"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(observations, max_size=5))
def test_what_was_added_is_read_in_order(path: Path, rows: list[Observation]) -> None:
    path.unlink(missing_ok=True)
    store = ObservationStore(path, SETUP)
    store.add(rows)
    kept = {(row.dataset, row.cell, row.query_id): row for row in rows}
    assert list(ObservationStore(path)) == [kept[key] for key in sorted(kept)]
    for dataset in {row.dataset for row in rows}:
        assert store.done(dataset) == {(key[1], key[2]) for key in kept if key[0] == dataset}


def test_an_observation_is_replaced_by_another_of_its_question_and_cell(path: Path) -> None:
    store = ObservationStore(path, SETUP)
    better = replace(ONE, answer="Oslo")
    other = replace(ONE, allocation=Allocation(5, 2, 3))
    store.add([ONE, other])
    store.add([better])
    assert list(store) == [better, other]
    assert store.done("hotpotqa") == {(ONE.cell, "q1"), (other.cell, "q1")}
    assert store.done("musique") == set()


def test_another_setup_is_refused_and_both_values_are_named(path: Path) -> None:
    ObservationStore(path, SETUP).add([ONE])
    before = path.read_bytes()
    with pytest.raises(InputError, match="with prompts 'p1', not 'p2'; name another file"):
        ObservationStore(path, {"seed": "1", "prompts": "p2"})
    assert path.read_bytes() == before
    assert ObservationStore(path, SETUP).setup == SETUP


def test_names_that_are_new_to_the_file_are_taken_up(path: Path) -> None:
    ObservationStore(path, SETUP).add([ONE])
    more = {"llm": "echo", "examples of hotpotqa": "e1"}
    assert ObservationStore(path, more).setup == SETUP | more
    assert (
        ObservationStore(path, {"examples of musique": "e7"}).setup["examples of musique"] == "e7"
    )
    with pytest.raises(InputError, match="examples of hotpotqa 'e1', not 'e2'"):
        ObservationStore(path, {"examples of hotpotqa": "e2"})
    assert list(ObservationStore(path)) == [ONE]


def test_reading_needs_a_file_and_writes_nothing(path: Path) -> None:
    with pytest.raises(InputError, match=r"profile.sqlite does not exist; `rag budget profile`"):
        ObservationStore(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(StorageError, match="no file of observations"):
        ObservationStore(path)
    assert path.read_bytes() == b""
    ObservationStore(path, SETUP).add([ONE])
    before = path.read_bytes()
    assert ObservationStore(path).setup == SETUP
    assert path.read_bytes() == before


def test_other_files_are_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"a letter to my aunt, rather longer than the header of a database" * 20)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"profile\.sqlite: .*not a database; name another file"):
        ObservationStore(path, SETUP)
    assert path.read_bytes() == before
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    before = path.read_bytes()
    for setup in (SETUP, None):
        with pytest.raises(StorageError, match="no file of observations; name another file"):
            ObservationStore(path, setup)
    assert path.read_bytes() == before


def test_a_place_that_cannot_hold_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/profile: unable to open .* name another file"):
        ObservationStore(tmp_path / "nowhere" / "profile", SETUP)


@pytest.mark.parametrize("damage", ["{", "{}", '{"allocation": {"documents": -1}}', "7"])
def test_a_damaged_observation_is_named(path: Path, damage: str) -> None:
    store = ObservationStore(path, SETUP)
    store.add([ONE])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE observations SET observation = ?", (damage,))
    with pytest.raises(StorageError, match=r"profile\.sqlite: an observation in it cannot be read"):
        list(store)


def test_observations_are_kept_together_or_not_at_all(path: Path) -> None:
    store = ObservationStore(path, SETUP)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TRIGGER failing BEFORE INSERT ON observations WHEN NEW.query_id = 'q9' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(StorageError):
        store.add([ONE, replace(ONE, query_id="q9")])
    assert list(store) == []


WRITER = """
import sys
from pathlib import Path
from rag.allocation.observations import Observation
from rag.allocation.store import ObservationStore
from rag.core.allocations import Allocation

_, path, dataset, batches = sys.argv
store = ObservationStore(Path(path), {"llm": "echo", f"examples of {dataset}": "e1"})
for number in range(int(batches)):
    store.add(
        Observation(dataset, "DRAG", Allocation(number), f"q{row}", answer="word " * 200)
        for row in range(8)
    )
    print(number, flush=True)
"""


def writer(path: Path, dataset: str, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), dataset, str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_kill_loses_nothing_that_was_added_and_leaves_no_half(path: Path) -> None:
    chance = random.Random(0)
    for dataset in "abcd":
        process = writer(path, dataset, 10**6)
        assert process.stdout
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        said = 1 + len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        done = ObservationStore(path).done(dataset)
        batches = {allocation.documents for (_, allocation), _ in done}
        assert batches >= set(range(said))
        assert len(batches) <= said + 1
        assert len(done) == 8 * len(batches)
    assert {each.dataset for each in ObservationStore(path)} == set("abcd")


def test_processes_and_threads_write_at_once(path: Path) -> None:
    processes = [writer(path, dataset, 10) for dataset in "ab"]
    store = ObservationStore(path, SETUP)
    with ThreadPoolExecutor(4) as pool:
        rows = [replace(ONE, query_id=f"q{number}") for number in range(20)]
        list(pool.map(lambda row: store.add([row]), rows))
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert len(store.done("a")) == len(store.done("b")) == 80
    assert len(store.done("hotpotqa")) == 20
    assert ObservationStore(path).setup == SETUP | {f"examples of {each}": "e1" for each in "ab"}

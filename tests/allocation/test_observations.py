import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.observations import Observation, read_observations, write_observations
from rag.core.allocations import Allocation
from rag.core.errors import DataError

counts = st.integers(0, 10**9)
allocations = st.builds(Allocation, counts, counts, st.integers(1, 10))
observations = st.builds(
    Observation,
    dataset=st.text(),
    strategy=st.text(),
    allocation=allocations,
    query_id=st.text(),
    metrics=st.dictionaries(st.text(), st.floats(0, 1)),
    input_tokens=counts,
    computed_tokens=counts,
    output_tokens=counts,
    calls=counts,
    seconds=st.floats(0, 1e9),
    confidence=st.none() | st.floats(0, 1),
    answer=st.text(),
)
ONE = Observation("hotpotqa", "DRAG", Allocation(5, 2), "q1", {"em": 1.0}, answer="Ålesund")


@given(observations)
def test_an_observation_comes_back_from_json(observation: Observation) -> None:
    text = json.dumps(observation.as_json())
    assert Observation.from_json(json.loads(text)) == observation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("observations")


@given(st.lists(observations, max_size=5), st.sampled_from(["all.jsonl", "all.jsonl.gz"]))
def test_a_file_holds_what_was_written(folder: Path, rows: list[Observation], name: str) -> None:
    write_observations(folder / name, rows)
    assert list(read_observations(folder / name)) == rows


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x1c", "\r", "\n", "\r\n"])
def test_an_answer_may_hold_any_line_separator(tmp_path: Path, separator: str) -> None:
    row = Observation("d", "DRAG", Allocation(1), "q", answer=f"one{separator}two")
    write_observations(tmp_path / "rows.jsonl", [row])
    assert list(read_observations(tmp_path / "rows.jsonl")) == [row]


def test_the_same_observations_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_observations(tmp_path / name, [ONE])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert "Ålesund" in gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).decode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"7",
        b'{"dataset": "d"}',
        b'{"dataset": "d", "strategy": "DRAG", "allocation": 3, "query_id": "q"}',
        b'{"dataset": "d", "strategy": "DRAG", "allocation": {"documents": -1}, "query_id": "q"}',
        b'{"dataset": "d", "strategy": "DRAG", "allocation": {"documents": 1}, "colour": "red"}',
        b'{"dataset": "\xff"}',
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(ONE.as_json()).encode()
    path.write_bytes(b"\n".join([good, line, good, b""]))
    rows = read_observations(path)
    assert next(rows) == ONE
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2: no observation") as caught:
        next(rows)
    assert caught.value.line == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl: not observations"):
        list(read_observations(tmp_path / "missing.jsonl"))
    path = tmp_path / "rows.jsonl.gz"
    write_observations(path, [ONE] * 50)
    whole = path.read_bytes()
    scrambled = whole[:15] + bytes(each ^ 0xFF for each in whole[15:40]) + whole[40:]
    for damaged in (b"plain", whole[:-20], scrambled):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"rows\.jsonl\.gz: not observations"):
            list(read_observations(path))

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.answers import Step
from rag.core.documents import Passage
from rag.core.errors import DataError, InputError
from rag.core.hits import Hit
from rag.core.worked_examples import WorkedExample, read_examples, write_examples

# Every kind of character, halves of surrogate pairs and all that someone takes for a line's end.
TEXT = st.text(st.characters(exclude_categories=[]) | st.sampled_from("\n\r\x0b\x85\u2028\ud83d"))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
METADATA = st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.lists(TEXT), max_size=2)
PLACES = st.integers(0, 9)
PASSAGES = st.builds(Passage, TEXT, TEXT, TEXT, PLACES, PLACES, TEXT, TEXT, TEXT, METADATA)
SCORES = st.dictionaries(TEXT, NUMBERS, max_size=2)
RANKS = st.dictionaries(TEXT, PLACES, max_size=2)
HITS = st.lists(st.builds(Hit, PASSAGES, NUMBERS, SCORES, RANKS), max_size=2).map(tuple)
STEPS = st.lists(st.builds(Step, TEXT, TEXT, HITS), max_size=2).map(tuple)
EXAMPLES = st.lists(st.builds(WorkedExample, TEXT, TEXT, HITS, STEPS), max_size=2)


def example(text: str = "Grace Hopper wrote a compiler.") -> WorkedExample:
    hit = Hit(
        Passage("p1", "d1", text, 3, 3 + len(text), "Hopper"), 0.5, {"bm25": 2.5}, {"bm25": 1}
    )
    return WorkedExample("Who?", "Hopper", (hit,), (Step("When?", "1952", (hit, hit)),))


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x1c", "\r", "\n", "\r\n", ""])
def test_examples_come_back_whatever_their_passages_hold(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "examples.jsonl"
    examples = [example(f"one{separator}two ä"), WorkedExample("Why?", "so")]
    write_examples(path, examples)
    assert read_examples(path) == examples


@given(examples=EXAMPLES)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, examples) -> None:
    path = tmp_path_factory.mktemp("examples") / "e.jsonl"
    write_examples(path, examples)
    assert read_examples(path) == examples
    assert path.read_bytes().count(b"\n") == len(examples)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"7",
        b"null",
        b'{"question": "q"}',
        b'{"question": "\xff"}',
        b"\xff\xfe",
        b"",
        b'{"question": "q", "answer": "a", "hits": [], "steps": 3}',
        b'{"question": "q", "answer": "a", "hits": [], "steps": [{"question": "s"}]}',
        b'{"question": "q", "answer": "a", "hits": "none", "steps": []}',
        b'{"question": "q", "answer": "a", "hits": [{"score": 1}], "steps": []}',
        b'{"question": "q", "answer": "a", "hits": [{"passage": {"id": "p"}}], "steps": []}',
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "examples.jsonl"
    good = json.dumps({"question": "q", "answer": "a", "hits": [], "steps": []}).encode()
    path.write_bytes(b"\n".join([good, line, good]))
    with pytest.raises(DataError, match=r"examples.jsonl, line 2: no worked example"):
        read_examples(path)


@given(garbage=st.binary(min_size=1, max_size=60))
def test_garbage_is_a_typed_error(tmp_path_factory: pytest.TempPathFactory, garbage) -> None:
    path = tmp_path_factory.mktemp("examples") / "e.jsonl"
    path.write_bytes(garbage)
    with pytest.raises(DataError, match="no worked example"):
        read_examples(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing.jsonl: no worked examples"):
        read_examples(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match=r"cannot be written: .*; name another file"):
        write_examples(tmp_path / "nowhere" / "examples.jsonl", [example()])

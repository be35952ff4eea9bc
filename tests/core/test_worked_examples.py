import json
from pathlib import Path

import pytest

from rag.core.answers import Step
from rag.core.documents import Passage
from rag.core.errors import DataError, InputError
from rag.core.hits import Hit
from rag.core.worked_examples import WorkedExample, read_examples, write_examples


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


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"7", b'{"question": "q"}', b'{"question": "\xff"}', b""]
)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "examples.jsonl"
    good = json.dumps({"question": "q", "answer": "a", "hits": [], "steps": []}).encode()
    path.write_bytes(b"\n".join([good, line, good]))
    with pytest.raises(DataError, match=r"examples.jsonl, line 2: no worked example"):
        read_examples(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing.jsonl: no worked examples"):
        read_examples(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match=r"cannot be written: .*; name another file"):
        write_examples(tmp_path / "nowhere" / "examples.jsonl", [example()])

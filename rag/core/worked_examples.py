"""Worked examples: questions with their answers, shown before the question to be answered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rag.core.answers import Step
from rag.core.documents import Passage
from rag.core.errors import DataError, InputError
from rag.core.hits import Hit


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A question that was answered, and how.

    Args:
        question: The question.
        answer: Its answer, as an answer is to look.
        hits: What was found for the question, best first.
        steps: The sub-questions that led to the answer; none for one that was answered at once.
    """

    question: str
    answer: str
    hits: tuple[Hit, ...] = ()
    steps: tuple[Step, ...] = ()


def same_question(one: str, other: str) -> bool:
    """Return whether two questions are one, but for case, punctuation and white space."""
    return _words(one) == _words(other)


def _words(question: str) -> list[str]:
    return "".join(each if each.isalnum() else " " for each in question.casefold()).split()


def write_examples(path: Path, examples: Iterable[WorkedExample]) -> None:
    """Write examples as JSON Lines, passages included, so that they serve any collection.

    Raises:
        InputError: The file cannot be written.
    """
    lines = "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in examples)
    try:
        # What a model wrote may hold half of a surrogate pair; JSON has a place for it.
        path.write_bytes(lines.encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}; name another file") from error


def read_examples(path: Path) -> list[WorkedExample]:
    """Read what `write_examples` wrote.

    Raises:
        DataError: The file is missing, or a line is no worked example.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), f"no worked examples: {error}") from error
    examples = []
    # Bytes are split at line ends only; text would be at characters that a passage may hold, too.
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            examples.append(_example(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(str(path), f"no worked example: {error!r}", number) from error
    return examples


def _example(values: Mapping[str, Any]) -> WorkedExample:
    steps = tuple(
        Step(str(each["question"]), str(each["answer"]), _hits(each["hits"]))
        for each in values["steps"]
    )
    return WorkedExample(
        str(values["question"]), str(values["answer"]), _hits(values["hits"]), steps
    )


def _hits(values: Sequence[Mapping[str, Any]]) -> tuple[Hit, ...]:
    return tuple(Hit(**{**each, "passage": Passage(**each["passage"])}) for each in values)

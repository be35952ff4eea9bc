"""Questions with known answers, which calibrations of parallel encoding read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.core.generation import Prompt
from rag.core.hits import Hit
from rag.core.templates import Template, load_template

CALIBRATION_SET = Path(__file__).parent / "calibration_set" / "questions.jsonl"
"""The questions that come with the toolkit; the README beside them says where they are from."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question over passages whose answer is known.

    Args:
        prompt: The question with its passages, as a pipeline would ask it.
        answers: Accepted answers, at least one.
        kind: What kind of question it is, such as 'single-hop' or 'multi-hop'.

    Raises:
        InputError: There is no accepted answer, or an empty one.
    """

    prompt: Prompt
    answers: tuple[str, ...]
    kind: str

    def __post_init__(self) -> None:
        """Refuse what no likelihood can be measured of."""
        if not self.answers or not all(map(str.strip, self.answers)):
            raise InputError(f"{self.prompt.question!r} has no accepted answer, or an empty one")


def load_examples(template: Template | None = None) -> list[Example]:
    """Return the questions that come with the toolkit.

    32 are questions of Natural Questions, with 5 or 10 passages of which one holds the answer
    ('single-hop'); 24 are questions of HotpotQA, with 10 paragraphs of which two have to be put
    together ('multi-hop'). Passages stand in the order in which BM25 ranks them, as they would in a
    pipeline.

    Args:
        template: How a question is asked; the shipped 'read' unless given.
    """
    template = template or load_template("read")
    lines = CALIBRATION_SET.read_text(encoding="utf-8").splitlines()
    return [_example(json.loads(line), template) for line in lines]


def _example(record: dict[str, Any], template: Template) -> Example:
    hits = [
        Hit(Passage(each["id"], each["id"], text := each["text"], 0, len(text), each["title"]), 0.0)
        for each in record["passages"]
    ]
    prompt = template.render(record["question"], hits)
    return Example(prompt, tuple(record["answers"]), record["kind"])

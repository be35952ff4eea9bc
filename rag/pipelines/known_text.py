"""What is known of a document's text when only some passages of it are at hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rag.core.documents import Passage
from rag.text.sentences import sentence_spans


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a document's text without a gap.

    Args:
        start: First character in the document's text.
        text: The characters.
    """

    start: int
    text: str

    @property
    def end(self) -> int:
        """One past its last character in the document's text."""
        return self.start + len(self.text)

    def cut(self, start: int, end: int) -> str:
        """Return the characters of a range of the document's text that lies within."""
        return self.text[start - self.start : end - self.start]


def stretches(passages: Iterable[Passage]) -> list[Stretch]:
    """Join the passages of one document where they overlap or touch, in the document's order.

    What lies between two passages is not known, so it parts stretches. So does an overlap in which
    passages differ: then they are of different versions of the document.
    """
    joined: list[Stretch] = []
    for passage in sorted(passages, key=lambda each: (each.start, each.end)):
        last = joined[-1] if joined else None
        if last is None or last.end < passage.start:
            joined.append(Stretch(passage.start, passage.text))
            continue
        overlap = min(last.end, passage.end) - passage.start
        if last.cut(passage.start, passage.start + overlap) != passage.text[:overlap]:
            joined.append(Stretch(passage.start, passage.text))
        else:
            joined[-1] = Stretch(last.start, last.text + passage.text[overlap:])
    return joined


class NumberedSentences:
    """The sentences of some passages of one document, numbered from 1 in its order.

    Args:
        passages: The passages; any order.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._sentences = [
            (stretch, stretch.start + start, stretch.start + end)
            for stretch in stretches(passages)
            for start, end in sentence_spans(stretch.text)
        ]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._sentences)

    def __str__(self) -> str:
        """Return one numbered sentence a line, and a line of '…' for each gap."""
        lines: list[str] = []
        before: Stretch | None = None
        for number, (stretch, start, end) in enumerate(self._sentences, start=1):
            if before is not None and before is not stretch:
                lines.append("…")
            before = stretch
            # On one line, so that no text can number itself.
            lines.append(f"{number}: {' '.join(stretch.cut(start, end).split())}")
        return "\n".join(lines)

    def cut(self, first: int, last: int) -> list[Stretch]:
        """Return the text of a range of sentences, verbatim: one part more than it spans gaps."""
        parts: list[Stretch] = []
        within: Stretch | None = None
        for stretch, start, end in self._sentences[first - 1 : last]:
            if within is stretch:
                start = parts.pop().start
            parts.append(Stretch(start, stretch.cut(start, end)))
            within = stretch
        return parts

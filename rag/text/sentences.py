"""Where sentences lie."""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLOSERS = "\"'”\u2019)\\]"
_FULL_WIDTH = "。\uff01\uff1f][”\u2019」』\uff09]*"
# A sentence ends at its mark and the space after it, where no lower-case letter follows; one in
# Chinese or Japanese at its mark alone; any at an empty line or where an item of a list begins.
# The number of an item is no sentence.
_END = re.compile(
    rf"(?<!^\d)(?<!^\d\d)(?<!  \d)(?<!  \d\d)[.!?…][{_CLOSERS}]*\s+(?=(\S))"
    rf"|[{_FULL_WIDTH}"
    r"|\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*+•:|]|\d{1,3}[.)])[ \t])",
    re.MULTILINE,
)


def sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Yield one past the end of each sentence in a range but the last, white space included."""
    for match in _END.finditer(text, start, end):
        if not (match[1] and match[1].islower()) and match.end() < end:
            yield match.end()


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the character range of each sentence, white space around it left out."""
    spans = []
    start = 0
    for end in (*sentence_ends(text, 0, len(text)), len(text)):
        sentence = text[start:end]
        if said := sentence.strip():
            first = start + len(sentence) - len(sentence.lstrip())
            spans.append((first, first + len(said)))
        start = end
    return spans

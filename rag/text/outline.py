"""The blocks of a text, and the headings above each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rag.text.markdown import Line, heading_text, lines

Path = tuple[str, ...]
"""Headings above a place, outermost first."""


class Block(NamedTuple):
    """A heading, paragraph, list, table or piece of code.

    Attributes:
        start: Its first character in the text.
        end: One past its last.
        kind: 'heading', 'text', 'code' or 'table'.
        path: Headings above it, its own left out.
    """

    start: int
    end: int
    kind: str
    path: Path


def outline(text: str, *, markdown: bool, title: str = "") -> list[Block]:
    """Cut a text into blocks.

    Args:
        text: The text.
        markdown: Whether it is Markdown; other texts have paragraphs only.
        title: The document's title; a top heading that it begins with is left out of paths.

    Returns:
        The blocks in order; only white space lies between them.
    """
    blocks: list[Block] = []
    above: list[tuple[int, str]] = []
    path: Path = ()
    before = "blank"
    for line in lines(text) if markdown else _plain_lines(text):
        if line.kind == "heading":
            while above and above[-1][0] >= line.level:
                above.pop()
            path = tuple(heading for _, heading in above if heading)
            blocks.append(Block(line.start, line.end, "heading", path))
            heading = heading_text(text[line.start : line.end])
            if not above and title.casefold().startswith(heading.casefold()):
                heading = ""
            above.append((line.level, heading))
            path = tuple(heading for _, heading in above if heading)
        elif line.kind != "blank":
            if line.kind == before:
                blocks[-1] = blocks[-1]._replace(end=line.end)
            else:
                blocks.append(Block(line.start, line.end, line.kind, path))
        before = line.kind
    return blocks


def _plain_lines(text: str) -> Iterator[Line]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield Line(start, end, "blank" if text[start:end].isspace() else "text")
        start = end

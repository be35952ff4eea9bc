"""Markdown: reading files, and the pieces that other formats are rendered with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rag.core.documents import Scalar
from rag.text.content import Content
from rag.text.encoding import decode

_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t\n]|\Z)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_FIELD = re.compile(r"([A-Za-z][\w-]*):[ \t]*(.*)")
_FIELD_GOES_ON = (" ", "\t", "- ", "#")


class Line(NamedTuple):
    """A line of Markdown.

    Attributes:
        start: Its first character in the text.
        end: One past its last, the line break included.
        kind: 'blank', 'heading', 'code' (fences included), 'table' or 'text'.
        level: Level of a heading, 1 to 6; 0 for other lines.
    """

    start: int
    end: int
    kind: str
    level: int = 0


def lines(text: str) -> Iterator[Line]:
    """Yield the lines of a Markdown text; a `#` inside a fence is no heading."""
    start, fence = 0, ""
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        mark = _FENCE.match(text, start, end)
        if fence:
            yield Line(start, end, "code")
            if mark and mark[1].startswith(fence) and not text[mark.end() : end].strip():
                fence = ""
        elif mark and (mark[1][0] == "~" or "`" not in text[mark.end() : end]):
            fence = mark[1]
            yield Line(start, end, "code")
        elif heading := _HEADING.match(text, start, end):
            yield Line(start, end, "heading", len(heading[1]))
        else:
            content = text[start:end].lstrip()
            kind = "blank" if not content else "table" if content[0] == "|" else "text"
            yield Line(start, end, kind)
        start = end


def heading_text(line: str) -> str:
    """Return what a heading line says, without its marks, links and emphasis."""
    said = line.strip().lstrip("#").strip()
    unclosed = said.rstrip("#")
    if not unclosed or unclosed[-1] in " \t":
        said = unclosed.rstrip()
    return " ".join(_LINK.sub(r"\1", said).replace("`", "").replace("**", "").split())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Render rows of cells as a table, the first row as its header."""
    width = max((len(row) for row in rows), default=0)
    cells = [
        [" ".join(cell.split()).replace("|", "\\|") for cell in row] + [""] * (width - len(row))
        for row in rows
    ]
    rendered = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([*rendered[:1], "|" + " --- |" * width, *rendered[1:]])


def fenced(code: str) -> str:
    """Render code as a fenced block."""
    runs = re.findall("`{3,}", code)
    fence = "`" * (max(map(len, runs), default=2) + 1)
    return f"{fence}\n{code}\n{fence}"


def paragraph(text: str) -> str:
    """Render text as a paragraph: a line of it that looks like a heading is escaped."""
    return re.sub(r"^(?=#{1,6}(?:\s|$))", r"\\", text, flags=re.MULTILINE)


def read_markdown(data: bytes) -> Content:
    """Read Markdown; front matter of simple fields becomes metadata and leaves the text.

    Raises:
        ValueError: The bytes are not text.
    """
    metadata, text = _front_matter(decode(data))
    title = metadata.pop("title", "") or _first_heading(text)
    return Content(text, str(title), {**metadata, "format": "markdown"})


def _front_matter(text: str) -> tuple[dict[str, Scalar | list[Scalar]], str]:
    """Return the fields between two rules at the start of a text, and what follows.

    Only what looks like fields throughout is taken; nested values are passed over.
    """
    rows = text.split("\n")
    fields: dict[str, Scalar | list[Scalar]] = {}
    for number, row in enumerate(map(str.rstrip, rows)):
        field = _FIELD.fullmatch(row)
        if number == 0:
            if row != "---":
                break
        elif row == "---":
            return fields, "\n".join(rows[number + 1 :])
        elif field:
            if field[2]:
                fields[field[1]] = _value(field[2])
        elif row and not row.startswith(_FIELD_GOES_ON):
            break
    return {}, text


def _first_heading(text: str) -> str:
    for line in lines(text):
        if line.level and (title := heading_text(text[line.start : line.end])):
            return title
    return ""


def _value(text: str) -> Scalar | list[Scalar]:
    """Read a field of front matter: a flat list in brackets, or a scalar."""
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(item) for item in text[1:-1].split(",") if item.strip()]
    return _scalar(text)


def _scalar(text: str) -> Scalar:
    text = text.strip()
    if text[:1] in "\"'" and len(text) > 1 and text[-1] == text[0]:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?\d{1,15}", text):
        return int(text)
    if re.fullmatch(r"-?\d{1,15}\.\d{1,15}", text):
        return float(text)
    return text

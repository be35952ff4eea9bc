"""HTML elements to blocks of Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bs4 import Tag
from bs4.element import NavigableString, PreformattedString

from rag.text.markdown import fenced, paragraph, table

_SPACE = re.compile(r"\s+")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
# What a page shows around or on top of its text, and what it does not show.
_FURNITURE = frozenset(
    "aside button canvas footer form head iframe input nav noscript object option script select "
    "style svg template textarea".split()
)
_FURNITURE_ROLES = frozenset("banner contentinfo dialog navigation search".split())
_FURNITURE_CLASS = re.compile(
    r"nav(?:bar|igation|header|footer)?|(?:main|sub|side|top)?menu|breadcrumbs?|sidebar|footer"
)
_BLOCKS = frozenset(
    "address article blockquote body caption center dd details dir div dl dt fieldset figcaption "
    "figure header hr html li main ol p section summary table tbody td tfoot th thead tr ul".split()
)
# A table that holds any of these lays out a page instead of showing data.
_LAYOUT = ["table", "pre", "ul", "ol", "dl", *_HEADINGS]


@dataclass(slots=True)
class Block:
    """A heading, paragraph, list item, table or piece of code.

    Args:
        markdown: The block as Markdown.
        text: Its text alone.
        heading: Whether it is a heading.
        tight: Whether only a line break parts it from a tight block before it.
        linked: Characters of the text that are links.
        contents: Characters of the text that are links within the page.
    """

    markdown: str
    text: str
    heading: bool = False
    tight: bool = False
    linked: int = 0
    contents: int = 0


def join(blocks: list[Block]) -> str:
    """Join blocks into one Markdown text."""
    parts: list[str] = []
    for before, block in zip([None, *blocks], blocks, strict=False):
        if before:
            parts.append("\n" if before.tight and block.tight else "\n\n")
        parts.append(block.markdown)
    return "".join(parts)


def render(element: Tag) -> list[Block]:
    """Render what an element shows as blocks, in order; inline markup and link targets go."""
    renderer = _Renderer()
    renderer.walk(element)
    renderer.flush()
    return renderer.blocks


class _Renderer:
    """Collects inline text until a block begins or ends."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.inline: list[str] = []
        self.linked = self.contents = 0
        self.lists: list[int | None] = []  # those open: items so far where they are numbered
        self.prefix = ""  # for the next block: a list marker, or the mark of a definition
        self.tight = False

    def flush(self) -> None:
        """End the block under way."""
        rows = [" ".join(row.split()) for row in "".join(self.inline).split("\n")]
        text = "\n".join(row for row in rows if row)
        if text:
            markdown = self.prefix + paragraph(text)
            self.blocks.append(
                Block(
                    markdown,
                    text,
                    tight=self.tight,
                    linked=self.linked,
                    contents=self.contents,
                )
            )
            self.prefix = " " * len(self.prefix)
        self.inline.clear()
        self.linked = self.contents = 0

    def walk(self, element: Tag) -> None:
        """Render the children of an element."""
        for child in element.children:
            if isinstance(child, Tag):
                self._tag(child)
            elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
                self.inline.append(_SPACE.sub(" ", child))

    def _tag(self, tag: Tag) -> None:
        name = tag.name
        if name in _FURNITURE or _hidden(tag):
            return
        if name == "br":
            self.inline.append("\n")
        elif name == "a":
            self._link(tag)
        elif name in _HEADINGS:
            self._heading(tag)
        elif name == "pre":
            self._pre(tag)
        elif name == "table" and tag.find(_LAYOUT) is None:
            self._table(tag)
        elif name in ("ul", "ol", "dl"):
            self.flush()
            self.lists.append(0 if name == "ol" else None)
            self.walk(tag)
            self.flush()
            self.lists.pop()
        elif name in ("li", "dt", "dd"):
            self._item(tag)
        elif name in _BLOCKS:
            self.flush()
            self.walk(tag)
            self.flush()
        else:
            self.walk(tag)

    def _link(self, tag: Tag) -> None:
        before, blocks = len(self.inline), len(self.blocks)
        self.walk(tag)
        if len(self.blocks) == blocks:
            length = sum(map(len, self.inline[before:]))
            self.linked += length
            if str(tag.get("href", "")).startswith("#"):
                self.contents += length

    def _heading(self, tag: Tag) -> None:
        self.flush()
        text = " ".join(tag.get_text().split()).rstrip("¶").strip()
        if text:
            mark = "#" * _HEADINGS[tag.name]
            self.blocks.append(Block(f"{mark} {text}", text, heading=True))

    def _pre(self, tag: Tag) -> None:
        self.flush()
        code = tag.get_text().replace("\r\n", "\n").strip("\n").rstrip()
        if code:
            self.blocks.append(Block(fenced(code), code))

    def _table(self, tag: Tag) -> None:
        self.flush()
        rows = [[render(cell) for cell in row.find_all(["td", "th"])] for row in tag.find_all("tr")]
        rows = [row for row in rows if any(row)]
        caption = tag.find("caption")
        if isinstance(caption, Tag):
            self.blocks += render(caption)
        if max(map(len, rows), default=0) < 2:
            self.blocks += [block for row in rows for cell in row for block in cell]
            return
        texts = [[" ".join(block.text for block in cell) for cell in row] for row in rows]
        self.blocks.append(
            Block(
                table(texts),
                " ".join(text for row in texts for text in row),
                linked=sum(block.linked for row in rows for cell in row for block in cell),
            )
        )

    def _item(self, tag: Tag) -> None:
        self.flush()
        outer = self.prefix, self.tight
        mark = {"dt": "", "dd": ": ", "li": "- "}[tag.name]
        if tag.name == "li" and self.lists and (items := self.lists[-1]) is not None:
            self.lists[-1] = items + 1
            mark = f"{items + 1}. "
        self.prefix, self.tight = "  " * (len(self.lists) - 1) + mark, True
        self.walk(tag)
        self.flush()
        self.prefix, self.tight = outer


def _hidden(tag: Tag) -> bool:
    attributes = tag.attrs
    return bool(attributes) and (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in _FURNITURE_ROLES
        or any(map(_FURNITURE_CLASS.fullmatch, attributes.get("class", ())))
    )

"""HTML elements to blocks of Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from lxml.html import HtmlElement

from rag.text.markdown import fenced, paragraph, table

_SPACE = re.compile(r"\s+")
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
# What a page shows around or on top of its text.
_FURNITURE = frozenset(
    "aside button canvas footer form head iframe input nav object option select svg "
    "textarea".split()
)
_FURNITURE_ROLES = frozenset("banner contentinfo dialog navigation search".split())
_FURNITURE_CLASS = re.compile(
    r"nav(?:bar|igation|header|footer)?|(?:main|sub|side|top)?menu|breadcrumbs?|sidebar|footer"
)
_BLOCKS = frozenset(
    "address article blockquote body caption center dd details dir div dl dt fieldset figcaption "
    "figure header hr html li main ol p section summary table tbody td tfoot th thead tr ul".split()
)
# What is longer is text that an unclosed heading has swallowed.
_LONGEST_HEADING = 500
# A table that holds any of these lays out a page instead of showing data.
_LAYOUT = ("table", "pre", "ul", "ol", "dl", *_HEADINGS)


class Anchor(NamedTuple):
    """A link as a page has it.

    Attributes:
        href: Where it leads, seen from the page.
        text: The text that is linked.
    """

    href: str
    text: str


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
        anchors: Its links.
    """

    markdown: str
    text: str
    heading: bool = False
    tight: bool = False
    linked: int = 0
    contents: int = 0
    anchors: list[Anchor] = field(default_factory=list)


def join(blocks: list[Block]) -> str:
    """Join blocks into one Markdown text."""
    parts: list[str] = []
    for before, block in zip([None, *blocks], blocks, strict=False):
        if before:
            parts.append("\n" if before.tight and block.tight else "\n\n")
        parts.append(block.markdown)
    return "".join(parts)


def render(element: HtmlElement) -> list[Block]:
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
        self.anchors: list[Anchor] = []
        self.lists: list[int | None] = []  # those open: items so far where they are numbered
        self.prefix = ""  # for the next block: a list marker, or the mark of a definition
        self.tight = False

    def flush(self) -> None:
        """End the block under way."""
        said = "".join(self.inline)
        # Most of what lies between two tags is white space.
        rows = [] if said.isspace() else [" ".join(row.split()) for row in said.split("\n")]
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
                    anchors=self.anchors,
                )
            )
            self.prefix = " " * len(self.prefix)
            self.anchors = []
        self.inline.clear()
        self.linked = self.contents = 0

    def walk(self, element: HtmlElement) -> None:
        """Render what is in an element."""
        if element.text:
            self.inline.append(_SPACE.sub(" ", element.text))
        for child in element:
            self._tag(child)
            if child.tail:
                self.inline.append(_SPACE.sub(" ", child.tail))

    def _tag(self, tag: HtmlElement) -> None:
        name = tag.tag
        if name in _FURNITURE or _is_furniture(tag):
            return
        if name == "br":
            self.inline.append("\n")
        elif name == "a":
            self._link(tag)
        elif name in _HEADINGS:
            self._heading(tag)
        elif name == "pre":
            self._pre(tag)
        elif name == "table" and next(tag.iterdescendants(_LAYOUT), None) is None:
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

    def _link(self, tag: HtmlElement) -> None:
        before, blocks = len(self.inline), len(self.blocks)
        if href := tag.get("href"):
            self.anchors.append(Anchor(href, " ".join(tag.text_content().split())))
        self.walk(tag)
        if len(self.blocks) == blocks:
            length = sum(map(len, self.inline[before:]))
            self.linked += length
            if href and href.startswith("#"):
                self.contents += length

    def _heading(self, tag: HtmlElement) -> None:
        self.flush()
        within = render(tag)
        text = " ".join(block.text for block in within)
        text = " ".join(text.split()).rstrip("¶").strip()
        if len(text) > _LONGEST_HEADING:
            self.blocks += within
        elif text:
            mark = "#" * _HEADINGS[tag.tag]
            anchors = [anchor for block in within for anchor in block.anchors]
            self.blocks.append(Block(f"{mark} {text}", text, heading=True, anchors=anchors))

    def _pre(self, tag: HtmlElement) -> None:
        self.flush()
        for line_break in tag.iter("br"):
            line_break.tail = f"\n{line_break.tail or ''}"
        code = tag.text_content().replace("\r\n", "\n").strip("\n").rstrip()
        if code:
            self.blocks.append(Block(fenced(code), code))

    def _table(self, tag: HtmlElement) -> None:
        self.flush()
        rows = [[render(cell) for cell in row.iter("td", "th")] for row in tag.iter("tr")]
        rows = [row for row in rows if any(row)]
        caption = tag.find("caption")
        if caption is not None:
            self.blocks += render(caption)
        cells = [block for row in rows for cell in row for block in cell]
        if max(map(len, rows), default=0) < 2:
            self.blocks += cells
            return
        texts = [[" ".join(block.text for block in cell) for cell in row] for row in rows]
        self.blocks.append(
            Block(
                table(texts),
                " ".join(text for row in texts for text in row),
                linked=sum(block.linked for block in cells),
                anchors=[anchor for block in cells for anchor in block.anchors],
            )
        )

    def _item(self, tag: HtmlElement) -> None:
        self.flush()
        outer = self.prefix, self.tight
        mark = {"dt": "", "dd": ": ", "li": "- "}[tag.tag]
        if tag.tag == "li" and self.lists and (items := self.lists[-1]) is not None:
            self.lists[-1] = items + 1
            mark = f"{items + 1}. "
        self.prefix, self.tight = "  " * (len(self.lists) - 1) + mark, True
        self.walk(tag)
        self.flush()
        self.prefix, self.tight = outer


def _is_furniture(tag: HtmlElement) -> bool:
    return tag.get("role") in _FURNITURE_ROLES or any(
        map(_FURNITURE_CLASS.fullmatch, tag.get("class", "").split())
    )

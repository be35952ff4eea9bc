"""HTML pages.

trafilatura says what the main text of a page is; the page's own elements, read with Beautiful
Soup, say how it is built. trafilatura alone drops headings and lists of pages that have no
article element, as documentation often has none.
"""

from __future__ import annotations

import logging
import re

from bs4 import BeautifulSoup
from trafilatura import bare_extraction

from rag.core.documents import Scalar
from rag.text.content import Content
from rag.text.encoding import decode
from rag.text.html_markdown import Block, join, render

# It warns of every page that it finds nothing on; the fallback handles those.
logging.getLogger("trafilatura").addHandler(logging.NullHandler())

_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MODIFIED = re.compile(r"(?:this page )?(?:was )?last (?:modified|updated)\b.{,80}", re.IGNORECASE)
_DATE_FIELDS = ("article:published_time", "date", "dcterms.date", "DC.date", "dc.date.issued")
# A shorter block, such as a menu entry, may occur in the main text by chance.
_TELLING = 25


def read_html(data: bytes) -> Content:
    """Read the main text of a page as Markdown.

    The text runs from the first to the last block that trafilatura takes for main text, with
    all that the page shows between them. What leads up to the first, as far as the top heading
    or a menu, belongs to it too, and so does the rest of a list that the last is in. On a page
    where trafilatura finds nothing, the text is all that the page shows outside navigation,
    forms and footers, and metadata has `extraction: 'fallback'`.

    Raises:
        ValueError: The bytes are not text.
    """
    declared = _CHARSET.search(data[:2048])
    markup = decode(data, declared[1].decode() if declared else None)
    markup = _XML_DECLARATION.sub("", markup, count=1)
    # The line break keeps Beautiful Soup from taking a short text for a file name.
    soup = BeautifulSoup(f"\n{markup}", "lxml")
    blocks = [block for block in render(soup) if not _is_contents(block)]
    main = _main(blocks, markup)
    metadata: dict[str, Scalar | list[Scalar]] = {"format": "html", **_facts(soup)}
    if not main:
        metadata["extraction"] = "fallback"
        main = blocks
    if main and _MODIFIED.fullmatch(main[-1].text):
        modified = _DATE.search(main.pop().text)
        if modified:
            metadata.setdefault("date", modified[0])
    return Content(join(main), _title(soup), metadata)


def _main(blocks: list[Block], markup: str) -> list[Block]:
    """Return the blocks from the first to the last of the main text; none if there is none."""
    found = bare_extraction(
        markup, fast=True, include_comments=False, output_format="xml", with_metadata=False
    )
    if found is None or found.body is None:
        return []
    main = _squeeze(" ".join(found.body.itertext()))
    order = range(len(blocks))
    first = next((i for i in order if _is_main(blocks[i], main)), None)
    last = next((i for i in reversed(order) if _is_main(blocks[i], main)), None)
    if first is None or last is None:
        return []
    while last + 1 < len(blocks) and blocks[last].tight and blocks[last + 1].tight:
        last += 1
    return blocks[_lead(blocks, first) : last + 1]


def _lead(blocks: list[Block], first: int) -> int:
    """Return where what leads up to the block `first` begins."""
    lead = first
    for i in range(first, -1, -1):
        links = blocks[i].linked > 0.5 * len(blocks[i].text)
        if blocks[i].markdown.startswith("# "):
            return i
        if links and blocks[i].tight:
            break
        if not links and lead == i + 1:
            lead = i
    return lead


def _is_main(block: Block, main: str) -> bool:
    text = _squeeze(block.text)
    return len(text) >= _TELLING and text in main


def _is_contents(block: Block) -> bool:
    """Say whether a block is an entry of the page's table of contents: it repeats a heading."""
    return block.contents > 0.8 * len(block.text)


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _title(soup: BeautifulSoup) -> str:
    for name in ("title", "h1"):
        element = soup.find(name)
        if element and (text := " ".join(element.get_text().split())):
            return text
    return ""


def _facts(soup: BeautifulSoup) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {}
    if soup.html and (language := soup.html.get("lang") or soup.html.get("xml:lang")):
        facts["language"] = str(language)
    for field in soup.find_all("meta", content=_DATE):
        if field.get("property", field.get("name")) in _DATE_FIELDS:
            facts["date"] = str(field["content"])[:10]
            break
    return facts

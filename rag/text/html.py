"""HTML pages.

trafilatura says what the main text of a page is; the page's own elements say how it is built.
trafilatura alone drops headings and lists of pages that have no article element, as documentation
often has none. Both are given one tree, without what the page does not show.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import NamedTuple

from bs4.dammit import EncodingDetector
from lxml.etree import ErrorTypes, ParserError, strip_tags
from lxml.html import HtmlElement, HTMLParser, document_fromstring
from trafilatura import bare_extraction

from rag.text.content import Content
from rag.text.encoding import decode
from rag.text.hidden import drop_hidden
from rag.text.html_facts import facts, title
from rag.text.html_markdown import Anchor, Block, join, render

# It warns of every page that it finds nothing on; the fallback handles those.
logging.getLogger("trafilatura").addHandler(logging.NullHandler())

# Encodings are named in the beginning (WHATWG HTML, 13.2.3.2), and are costly to look for.
_PRESCAN = 2048
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MODIFIED = re.compile(r"(?:this page )?(?:was )?last (?:modified|updated)\b.{,80}", re.IGNORECASE)
# They leave no mark in the text. Without them pages have fewer elements to walk, and those that
# never close them are not nested deeply.
_INLINE = (
    "abbr b bdi bdo big cite del dfn em font i ins kbd mark nobr q s samp small strong sub sup tt "
    "u var"
).split()
# A shorter block, such as a menu entry, may occur in the main text by chance.
_TELLING = 25


class HtmlPage(NamedTuple):
    """What a page says and where it leads.

    Attributes:
        content: Its main text as Markdown, title and facts.
        anchors: The links of the main text, in order.
        base: What these start from where that is not the page's own address; '' where it is.
    """

    content: Content
    anchors: list[Anchor]
    base: str


def read_html(data: bytes) -> Content:
    """Read the main text of a page as Markdown; see `read_markup`.

    Raises:
        ValueError: The bytes are not text, or there is nothing in them.
    """
    return read_markup(decode(data, declared_encoding(data))).content


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding that a page's own markup names; None where it names none."""
    declared: str | None = EncodingDetector.find_declared_encoding(data[:_PRESCAN], is_html=True)
    # What can be read byte by byte cannot be in UTF-16 or UTF-32.
    return None if declared and declared.startswith(("utf-16", "utf-32")) else declared


def read_markup(markup: str) -> HtmlPage:
    """Read the main text of a page as Markdown.

    The text runs from the first to the last block that trafilatura takes for main text, with
    all that the page shows between them. What leads up to the first, as far as the top heading
    or a menu, belongs to it too, and so does the rest of a list that the last is in. On a page
    where trafilatura finds nothing, the text is all that the page shows outside navigation,
    forms and footers, and metadata has `extraction: 'fallback'`. What the page hides is in none.

    Raises:
        ValueError: There is nothing in it, or its elements are nested too deeply.
    """
    tree = _parse(markup)
    metadata = {"format": "html", **facts(tree)}
    drop_hidden(tree)
    strip_tags(tree, *_INLINE)
    for code in tree.iter("pre"):
        strip_tags(code, "span")
    blocks = [block for block in render(tree) if not _is_contents(block)]
    main = _main(blocks, tree)
    if not main:
        metadata["extraction"] = "fallback"
        main = blocks
    if main and _MODIFIED.fullmatch(main[-1].text):
        modified = _DATE.search(main.pop().text)
        if modified:
            metadata.setdefault("date", modified[0])
    base = tree.find(".//base[@href]")
    return HtmlPage(
        Content(join(main), title(tree), metadata),
        [anchor for block in main for anchor in block.anchors],
        "" if base is None else base.get("href"),
    )


def _parse(markup: str) -> HtmlElement:
    declaration = _XML_DECLARATION.match(markup)
    data = markup[declaration.end() if declaration else 0 :].encode("utf-8", "replace")
    # Past its usual limits, made against XML bombs that HTML has none of, libxml2 drops text.
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        tree = document_fromstring(data, parser=parser)
    except ParserError as error:
        raise ValueError("no text in it") from error
    if any(entry.type == ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log):
        raise ValueError("nested too deeply")
    return tree


def _main(blocks: list[Block], tree: HtmlElement) -> list[Block]:
    """Return the blocks from the first to the last of the main text; none if there is none."""
    found = bare_extraction(tree, include_comments=False, output_format="xml")
    if found is None or found.body is None:
        return []
    main = _squeeze(" ".join(found.body.itertext()))
    texts = [_squeeze(block.text) for block in blocks]
    times = Counter(texts)

    def is_main(text: str) -> bool:
        # What menus and footers repeat, such as the headline, does not tell where the text is.
        return len(text) >= _TELLING and times[text] <= main.count(text)

    order = range(len(blocks))
    first = next((i for i in order if is_main(texts[i])), None)
    last = next((i for i in reversed(order) if is_main(texts[i])), None)
    if first is None or last is None:
        return []
    return blocks[_lead(blocks, first) : _rest(blocks, texts, main, last)]


def _rest(blocks: list[Block], texts: list[str], main: str, last: int) -> int:
    """Return where the main text ends.

    Blocks too short to tell belong to it, the rest of a list, and a list that a colon announces.
    """
    end = main.rindex(texts[last]) + len(texts[last])
    for i in range(last + 1, len(blocks)):
        if main.startswith(texts[i], end):
            end += len(texts[i])
        elif not (blocks[i].tight and (blocks[last].tight or texts[last].endswith(":"))):
            break
        if not blocks[i].heading:
            last = i
    return last + 1


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


def _is_contents(block: Block) -> bool:
    """Say whether a block is an entry of the page's table of contents: it repeats a heading."""
    return block.contents > 0.8 * len(block.text)


def _squeeze(text: str) -> str:
    return "".join(text.split())

"""Bytes from the web to documents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from rag.core.documents import Document
from rag.core.errors import FetchFailed, MissingExtra
from rag.core.web import Link
from rag.text.content import Content, normalize
from rag.text.invisible import without_invisible
from rag.web.charset import decode_page

if TYPE_CHECKING:
    from rag.text.html_markdown import Anchor

MAX_UNPACKED = 64 * 2**20
"""Most bytes that a compressed document may unpack to."""

_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
# Anything of `text/` is read, too, as plain text unless its beginning says more.
_TYPES = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "application/pdf": "pdf",
    "application/x-pdf": "pdf",
    _WORD: "docx",
}
# What servers say of files that they do not know.
_UNKNOWN = frozenset(["", "application/octet-stream", "application/x-download", "unknown/unknown"])
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s"';]+)""", re.IGNORECASE)
_HTML = re.compile(
    rb"(?:\s|<\?xml[^>]*>|<!--.*?-->)*<(?:!doctype\s+html|html|head|body|title)\b",
    re.IGNORECASE | re.DOTALL,
)
_MARKDOWN_NAMES = (".md", ".markdown", ".mdown")
_HEAD = 1024
# Bytes that no text has (WHATWG MIME Sniffing, 3).
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# What a URL may be written with and browsers take out of it.
_URL_BREAKS = str.maketrans("", "", "\t\r\n")


def read_page(
    data: bytes, *, url: str, content_type: str, retrieved: str
) -> tuple[Document, tuple[Link, ...]]:
    """Read a page: HTML, XHTML, plain text, Markdown, PDF or DOCX.

    What the bytes begin with counts for more than their content type. What an HTML page holds and
    does not show is left out, and so are characters that show nothing, in all formats; style sheets
    and scripts are not followed.

    Args:
        data: The body, decompressed.
        url: Where it was found in the end.
        content_type: The HTTP header's `Content-Type`; '' where there was none.
        retrieved: When it was fetched, in UTC: 'YYYY-MM-DDTHH:MM:SSZ'.

    Returns:
        The document and the links of its main text: absolute URLs of http and https without
        fragments, in order, each once; only those of HTML are found. The document's metadata have
        `format` ('text', 'markdown', 'html', 'pdf' or 'docx'), `sensitivity` 'public', `retrieved`,
        `host`, and `language`, `date` and `pages` where the page states them.

    Raises:
        FetchFailed: It is something that is not read ('content_type'), or no text could be read
            from it ('unreadable').
    """
    media = content_type.partition(";")[0].strip().lower()
    charset = _CHARSET.search(content_type)
    header = charset[1] if charset else ""
    kind = _kind(data, media, url, has_charset=bool(header))
    if not kind:
        reason = f"what came as '{media}' is no text, HTML, PDF or DOCX; nothing else is read"
        raise FetchFailed(url, "content_type", reason)
    try:
        content, links = _read(data, kind, header, url)
    except MissingExtra as error:
        raise FetchFailed(url, "content_type", str(error)) from error
    except RecursionError as error:
        raise FetchFailed(url, "unreadable", "nested too deeply") from error
    except Exception as error:  # on a broken page parsers raise what they like
        reason = str(error) if isinstance(error, ValueError) else f"broken page: {error!r}"
        raise FetchFailed(url, "unreadable", reason) from error
    text = normalize(without_invisible(content.text))
    if not text.strip():
        raise FetchFailed(url, "unreadable", "no text in it; scripts may write it in a browser")
    title = " ".join(normalize(without_invisible(content.title)).split())
    host = urlsplit(url).hostname or ""
    return (
        Document(
            id=url,
            text=text,
            title=title or normalize(unquote(PurePosixPath(urlsplit(url).path).name)) or host,
            uri=url,
            metadata={
                **content.metadata,
                "sensitivity": "public",
                "retrieved": retrieved,
                "host": host,
            },
        ),
        links,
    )


def _kind(data: bytes, media: str, url: str, *, has_charset: bool) -> str:
    """Return the format of a page; '' where it is something that is not read."""
    head = data[:_HEAD]
    kind = _TYPES.get(media, "")
    if b"%PDF-" in (head if kind == "pdf" else head.lstrip()[:5]):
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return "docx" if b"word/document.xml" in data else ""
    # Without its zeros and mark, a beginning in UTF-16 is one in ASCII.
    if _HTML.match(head.replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe")):
        return "html"
    if not (has_charset or head.startswith(_BYTE_ORDER_MARKS)) and _BINARY.search(head):
        return ""
    if not kind and (media.startswith("text/") or media in _UNKNOWN):
        named = urlsplit(url).path.lower().endswith(_MARKDOWN_NAMES)
        return "markdown" if named else "text"
    return "" if kind in ("pdf", "docx") else kind


def _read(data: bytes, kind: str, header: str, url: str) -> tuple[Content, tuple[Link, ...]]:
    # The parsers load what they stand on; a program imports only those that it needs.
    match kind:
        case "pdf":
            from rag.text.pdf import read_pdf

            return read_pdf(data), ()
        case "docx":
            from rag.text.docx import read_docx

            return read_docx(data, MAX_UNPACKED), ()
        case "html":
            from rag.text.html import declared_encoding, read_markup

            markup = decode_page(data, header=header, declared=declared_encoding(data) or "")
            page = read_markup(markup)
            return page.content, _links(page.anchors, url, page.base)
        case "markdown":
            from rag.text.markdown import read_markdown

            return read_markdown(decode_page(data, header=header).encode("utf-8", "replace")), ()
        case _:
            return Content(decode_page(data, header=header), "", {"format": "text"}), ()


def _links(anchors: Iterable[Anchor], url: str, base: str) -> tuple[Link, ...]:
    """Return where links lead, each place once, with the first text that any link to it has."""
    start = _absolute(url, base) or url
    texts: dict[str, str] = {}
    for anchor in anchors:
        target = _absolute(start, anchor.href)
        if target and target != urldefrag(url).url:
            texts[target] = texts.get(target) or anchor.text
    return tuple(Link(target, normalize(text)) for target, text in texts.items())


def _absolute(start: str, href: str) -> str:
    """Return the URL that a reference leads to; '' where it is none of http or https."""
    try:
        target = urldefrag(urljoin(start, href.strip().translate(_URL_BREAKS))).url
        parts = urlsplit(target)
        reachable = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        return ""
    return parts.geturl().replace(" ", "%20") if reachable else ""

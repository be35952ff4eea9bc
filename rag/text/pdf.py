"""PDF files."""

from __future__ import annotations

import re
import threading
from collections import Counter
from typing import Any

from rag.core.documents import Scalar
from rag.core.extras import require
from rag.text.content import Content

_DATE = re.compile(r"D:(\d{4})(\d{2})(\d{2})")
_DOT_LEADERS = re.compile(r"(?: ?\.){5,}")
_PAGE_NUMBER = re.compile(r"^\d+\s+|\s+\d+$")
_BARE_PAGE_NUMBER = re.compile(r"[\divxlc]+")
# A first or last line that this many pages share is a running head.
_RUNNING = 3
# PDFium works for one thread at a time.
_PDFIUM = threading.Lock()


def read_pdf(data: bytes) -> Content:
    """Read the text layer of a PDF; running heads, page numbers and dot leaders go.

    Raises:
        MissingExtra: pypdfium2 is not installed.
        ValueError: The file is broken, needs a password, or has no text layer.
    """
    pdfium = require("pypdfium2", extra="pdf", needed_for="Reading PDF files")
    with _PDFIUM:
        pages, facts = _contents(pdfium, data)
    empty = sum(not page.strip() for page in pages)
    if empty == len(pages):
        raise ValueError(f"none of the {empty} pages has a text layer; run OCR on it first")
    metadata: dict[str, Scalar | list[Scalar]] = {"format": "pdf", "pages": len(pages)}
    if empty:
        metadata["pages_without_text"] = empty
    if date := _DATE.match(facts.get("CreationDate", "")):
        metadata["date"] = "-".join(date.groups())
    text = "\n\n".join(_without_running_heads(pages))
    return Content(_DOT_LEADERS.sub(" …", text), facts.get("Title", "").strip(), metadata)


def _contents(pdfium: Any, data: bytes) -> tuple[list[str], dict[str, str]]:
    """Return the text of each page, and what the file says of itself."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise ValueError("the PDF needs a password; save an unprotected copy") from error
        raise ValueError(f"broken PDF: {error}") from error
    try:
        pages = [_page_text(document, number) for number in range(len(document))]
        return pages, document.get_metadata_dict(skip_empty=True)
    except pdfium.PdfiumError as error:
        raise ValueError(f"broken PDF: {error}") from error
    finally:
        document.close()


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    text_page = page.get_textpage()
    text: str = text_page.get_text_bounded()
    text_page.close()
    page.close()
    # U+0002 stands where a word was hyphenated at a line's end.
    return text.replace("\r\n", "\n").replace("\x02", "").strip()


def _without_running_heads(pages: list[str]) -> list[str]:
    """Drop first and last lines that only number the page or recur on other pages."""
    split = [page.split("\n") for page in pages]
    shared = Counter(_unnumbered(edge) for rows in split for edge in {rows[0], rows[-1]})

    def running(row: str) -> bool:
        bare = _BARE_PAGE_NUMBER.fullmatch(row.strip()) is not None
        return len(pages) >= _RUNNING and (bare or shared[_unnumbered(row)] >= _RUNNING)

    kept = []
    for rows in split:
        first = 1 if running(rows[0]) else 0
        last = len(rows) - 1 if running(rows[-1]) else len(rows)
        kept.append("\n".join(rows[first:last]))
    return [page for page in kept if page.strip()]


def _unnumbered(row: str) -> str:
    return _PAGE_NUMBER.sub("", row.strip())

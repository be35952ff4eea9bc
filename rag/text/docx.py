"""Word documents (DOCX)."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

from rag.core.documents import Scalar
from rag.core.extras import require
from rag.text.content import Content
from rag.text.markdown import paragraph, table

_HEADING = re.compile(r"heading ([1-6])", re.IGNORECASE)


def read_docx(data: bytes, max_bytes: int) -> Content:
    """Read a Word document as Markdown: headings, lists, tables and paragraphs.

    Args:
        data: The file.
        max_bytes: Most bytes that it may unpack to.

    Raises:
        MissingExtra: python-docx is not installed.
        ValueError: The file is broken or unpacks to more.
    """
    docx = require("docx", package="python-docx", extra="docx", needed_for="Reading DOCX files")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # zipfile reads no more of a member than it declares, so the sum cannot lie.
            unpacked = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"broken DOCX: {error}") from error
    if unpacked > max_bytes:
        raise ValueError(f"unpacks to {unpacked:,} bytes, more than the limit of {max_bytes:,}")
    document = docx.Document(io.BytesIO(data))
    facts = document.core_properties
    metadata: dict[str, Scalar | list[Scalar]] = {"format": "docx"}
    if facts.language:
        metadata["language"] = facts.language
    if facts.modified:
        metadata["date"] = facts.modified.date().isoformat()
    blocks = [_block(item) for item in document.iter_inner_content()]
    title = facts.title.strip() or next(
        (text.lstrip("# ") for text in blocks if text.startswith("#")), ""
    )
    return Content(_join(blocks), title, metadata)


def _block(item: Any) -> str:
    """Render a paragraph or a table."""
    if hasattr(item, "rows"):
        return table([[cell.text for cell in row.cells] for row in item.rows])
    text: str = item.text.strip()
    style = (item.style.name or "") if item.style is not None else ""
    if heading := _HEADING.match(style):
        return f"{'#' * int(heading[1])} {' '.join(text.split())}" if text else ""
    if style == "Title":
        return f"# {' '.join(text.split())}" if text else ""
    if style.startswith("List"):
        return f"- {text}" if text else ""
    return paragraph(text)


def _join(blocks: list[str]) -> str:
    parts: list[str] = []
    for block in filter(None, blocks):
        if parts:
            tight = block.startswith("- ") and parts[-1].startswith("- ")
            parts.append("\n" if tight else "\n\n")
        parts.append(block)
    return "".join(parts)

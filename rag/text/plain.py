"""Plain text."""

from __future__ import annotations

from rag.text.content import Content
from rag.text.encoding import decode


def read_plain(data: bytes) -> Content:
    """Read plain text.

    Raises:
        ValueError: The bytes are not text.
    """
    return Content(decode(data), "", {"format": "text"})

"""Hits for tests of pipelines."""

from rag.core.documents import Passage
from rag.core.hits import Hit


def hit(text: str, *, document_id: str = "doc", start: int = 0, title: str = "") -> Hit:
    end = start + len(text)
    passage = Passage(f"{document_id}#{start}-{end}", document_id, text, start, end, title)
    return Hit(passage, 1.0)


WAL = hit(
    "WAL mode is off by default. Enable it with PRAGMA journal_mode=WAL; it then persists. "
    "Readers do not block writers.",
    document_id="wal.html",
    start=1000,
    title="Write-Ahead Logging",
)
LIMITS = hit(
    "The maximum size of a database is 281 terabytes. A table has at most 2000 columns.",
    document_id="limits.html",
    title="Limits",
)

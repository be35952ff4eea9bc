"""Loading files into documents and splitting them into passages."""

from rag.text.folders import FoundFile, Skipped, find_files, read_documents
from rag.text.loading import MAX_BYTES, load
from rag.text.splitting import Splitter

__all__ = [
    "MAX_BYTES",
    "FoundFile",
    "Skipped",
    "Splitter",
    "find_files",
    "load",
    "read_documents",
]

"""Programs that answer questions: retrieve, then read or reason."""

from rag.pipelines.base import Pipeline, metered
from rag.pipelines.extractive import ExtractiveRead
from rag.pipelines.read import RetrieveAndRead

__all__ = [
    "ExtractiveRead",
    "Pipeline",
    "RetrieveAndRead",
    "metered",
]

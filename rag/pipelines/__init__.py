"""Programs that answer questions: retrieve, then read or reason."""

from rag.pipelines.base import Pipeline, metered
from rag.pipelines.extractive import ExtractiveRead
from rag.pipelines.read import RetrieveAndRead
from rag.pipelines.templates import Template, load_template, templates

__all__ = [
    "ExtractiveRead",
    "Pipeline",
    "RetrieveAndRead",
    "Template",
    "load_template",
    "metered",
    "templates",
]

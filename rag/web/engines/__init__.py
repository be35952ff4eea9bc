"""Web search engines, by name.

A name is one of `ENGINES`; 'searxng' takes the URL of its instance from RAG_SEARXNG_URL, or after
an @: 'searxng@http://127.0.0.1:8888'.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rag.core.errors import InputError

if TYPE_CHECKING:
    from rag.core.protocols import SearchEngine

ENGINES = {
    "searxng": "SearXNG",
    "brave": "Brave",
    "tavily": "Tavily",
    "serper": "Serper",
    "google": "GoogleSearch",
    "ddgs": "DDGS",
}
"""The engines: names, which are also those of their modules, and classes."""


def load_engine(name: str, **options: Any) -> SearchEngine:
    """Return the engine of a name.

    Args:
        name: One of `ENGINES`; 'NAME@URL' for one at another address than its own.
        options: Keywords of the engine's class.

    Raises:
        InputError: There is no such engine, or its address cannot be used.
        EngineFailed: Its key is missing.
        MissingExtra: What it is asked with is not installed.
    """
    kind, _, url = name.partition("@")
    if kind not in ENGINES:
        raise InputError(f"no search engine '{kind}'; there are {', '.join(ENGINES)}")
    if kind == "searxng" and not url:
        url = os.environ.get("RAG_SEARXNG_URL", "")
        if not url:
            raise InputError("where is SearXNG? name it 'searxng@URL', or set RAG_SEARXNG_URL")
    if url and kind == "ddgs":
        raise InputError(f"'{name}': ddgs asks engines of its own choice and has no address")
    if url:
        options["base_url"] = url
    engine: SearchEngine = getattr(import_module(f"{__name__}.{kind}"), ENGINES[kind])(**options)
    return engine

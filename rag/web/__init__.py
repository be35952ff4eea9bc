"""The web: search engines, and pages fetched with care and read as documents."""

from rag.web.engines import ENGINES, load_engine
from rag.web.fetcher import WebFetcher

__all__ = ["ENGINES", "WebFetcher", "load_engine"]

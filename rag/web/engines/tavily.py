"""The Tavily API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.core.web import WebQuery
from rag.web.engines.http import HTTPSearchEngine, Request
from rag.web.engines.results import Entry, ResultPage


class Tavily(HTTPSearchEngine):
    """Tavily's search for programs, asked with the key in TAVILY_API_KEY.

    For the arguments see `HTTPSearchEngine`. It gives up to 20 results, and no further pages.
    """

    name = "tavily"
    url = "https://api.tavily.com"
    key_env = "TAVILY_API_KEY"
    default_per_second = 1.5
    per_page = 20
    pages = 1

    def _headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    def _request(self, query: WebQuery, page: int) -> Request:
        fields = {
            "query": query.text,
            "max_results": min(query.count, self.per_page),
            "time_range": query.time_range,
        }
        return Request("POST", "search", fields)

    def _read(self, answer: Mapping[str, Any]) -> ResultPage:
        return ResultPage(
            tuple(
                Entry(
                    found["url"],
                    found.get("title") or "",
                    found.get("content") or "",
                    found.get("published_date") or "",
                )
                for found in answer["results"]
            )
        )

"""The Brave Search API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.core.web import WebQuery
from rag.web.engines.http import HTTPSearchEngine, Request
from rag.web.engines.results import Entry, ResultPage

_FRESHNESS = {"day": "pd", "week": "pw", "month": "pm", "year": "py"}


class Brave(HTTPSearchEngine):
    """Brave's index of the web, asked with the key in BRAVE_API_KEY.

    For the arguments see `HTTPSearchEngine`. A page has up to 20 results.
    """

    name = "brave"
    url = "https://api.search.brave.com/res/v1"
    key_env = "BRAVE_API_KEY"
    default_per_second = 1.0
    per_page = 20
    longest = (400, 50)

    def _headers(self, key: str) -> dict[str, str]:
        return {"X-Subscription-Token": key}

    def _request(self, query: WebQuery, page: int) -> Request:
        fields = {
            "q": query.text,
            "count": min(query.count, self.per_page),
            "offset": page - 1,
            "freshness": query.time_range and _FRESHNESS[query.time_range],
            "result_filter": "web",
        }
        return Request("GET", "web/search", fields)

    def _read(self, answer: Mapping[str, Any]) -> ResultPage:
        if "web" not in answer and answer["type"] == "search":
            return ResultPage(())  # which is how Brave says that nothing was found
        return ResultPage(
            tuple(
                Entry(
                    found["url"],
                    found.get("title") or "",
                    found.get("description") or "",
                    found.get("page_age") or found.get("age") or "",
                )
                for found in answer["web"]["results"]
            )
        )

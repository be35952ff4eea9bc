"""The Serper API, which serves results of Google."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rag.core.web import WebQuery
from rag.web.engines.http import HTTPSearchEngine, Request
from rag.web.engines.results import Entry, ResultPage

_QUERY_DATE_RANGES = {"day": "qdr:d", "week": "qdr:w", "month": "qdr:m", "year": "qdr:y"}


class Serper(HTTPSearchEngine):
    """Google's results by way of serper.dev, asked with the key in SERPER_API_KEY.

    For the arguments see `HTTPSearchEngine`. A page has 10 results.
    """

    name = "serper"
    url = "https://google.serper.dev"
    key_env = "SERPER_API_KEY"
    default_per_second = 5.0
    per_page = 10

    def _headers(self, key: str) -> dict[str, str]:
        return {"X-API-KEY": key}

    def _request(self, query: WebQuery, page: int) -> Request:
        fields = {
            "q": query.text,
            "num": self.per_page,
            "page": page,
            "tbs": query.time_range and _QUERY_DATE_RANGES[query.time_range],
        }
        return Request("POST", "search", fields)

    def _read(self, answer: Mapping[str, Any]) -> ResultPage:
        return ResultPage(
            tuple(
                Entry(
                    found["link"],
                    found.get("title") or "",
                    found.get("snippet") or "",
                    found.get("date") or "",
                )
                for found in answer["organic"]
            )
        )

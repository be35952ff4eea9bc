"""Google's Custom Search JSON API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rag.core.errors import EngineFailed
from rag.core.web import WebQuery
from rag.web.engines.http import HTTPSearchEngine, Request
from rag.web.engines.results import Entry, ResultPage

_DATE_RESTRICTIONS = {"day": "d1", "week": "w1", "month": "m1", "year": "y1"}
_ENGINE_ID_ENV = "GOOGLE_CSE_ID"


class GoogleSearch(HTTPSearchEngine):
    """A Programmable Search Engine, asked with the key in GOOGLE_API_KEY.

    Which engine is asked says GOOGLE_CSE_ID. For the arguments see `HTTPSearchEngine`. A page has
    10 results, and no more than 100 are given. Google takes no new customers of this API and ends
    it on 1 January 2027.

    Raises:
        EngineFailed: The key, or the engine's ID, is not in the environment.
    """

    name = "google"
    url = "https://www.googleapis.com"
    key_env = "GOOGLE_API_KEY"
    default_per_second = 1.0
    per_page = 10

    def __init__(self, base_url: str = "", **options: Any) -> None:
        self._engine_id = os.environ.get(_ENGINE_ID_ENV, "").strip()
        if not self._engine_id:
            raise EngineFailed(
                self.name,
                "key",
                f"it needs the ID of a search engine; put one into {_ENGINE_ID_ENV}",
            )
        super().__init__(base_url, **options)

    def _headers(self, key: str) -> dict[str, str]:
        # As a parameter it would be part of the URL, which ends up in logs.
        return {"X-Goog-Api-Key": key}

    def _request(self, query: WebQuery, page: int) -> Request:
        fields = {
            "q": query.text,
            "cx": self._engine_id,
            "num": min(query.count, self.per_page),
            "start": (page - 1) * self.per_page + 1,
            "dateRestrict": query.time_range and _DATE_RESTRICTIONS[query.time_range],
        }
        return Request("GET", "customsearch/v1", fields)

    def _read(self, answer: Mapping[str, Any]) -> ResultPage:
        if "items" not in answer and answer["kind"] == "customsearch#search":
            return ResultPage(())  # which is how Google says that nothing was found
        return ResultPage(
            tuple(
                Entry(
                    found["link"],
                    found.get("title") or "",
                    found.get("snippet") or "",
                    _published(found.get("pagemap") or {}),
                )
                for found in answer["items"]
            )
        )


def _published(pagemap: Mapping[str, Any]) -> str:
    """Return the date of publication that a page states in its head."""
    stated = (tags.get("article:published_time") for tags in pagemap.get("metatags") or ())
    return next((date for date in stated if date), "")

"""SearXNG, a metasearch engine that one can host oneself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rag.core.web import EngineFailure, WebQuery
from rag.web.engines.failures import Failure
from rag.web.engines.http import HTTPSearchEngine, Request
from rag.web.engines.results import Entry, ResultPage, plain_text

# Words that choose engines, languages and redirects: who writes a query does not choose those.
_SYNTAX = re.compile(r"(?<!\S)[!:]+(?=\S)")
# The words that SearXNG has for what kept an engine from answering.
_CAUSES: Mapping[str, EngineFailure] = {
    "captcha": "captcha",
    "too many requests": "rate_limited",
    "access denied": "blocked",
    "timeout": "timeout",
}


class SearXNG(HTTPSearchEngine):
    """An instance of SearXNG, asked by its JSON interface.

    Engines that did not answer the instance are notes of the results. Where nothing was found
    while some of them were silent, nobody can say that there is nothing, so the search failed.

    The instance has to offer JSON, and there is no base URL but the one that is given; for the
    arguments see `HTTPSearchEngine`.
    """

    name = "searxng"
    default_per_second = 5.0
    per_page = 10
    hints = MappingProxyType(
        {
            "blocked": "; if JSON is off there, switch it on in the instance's settings.yml: "
            "search: {formats: [html, json]}",
            "rate_limited": ", or have the instance's limiter let this address pass",
        }
    )

    def _request(self, query: WebQuery, page: int) -> Request:
        fields = {
            "q": _SYNTAX.sub("", query.text),
            "format": "json",
            "pageno": page,
            "time_range": query.time_range,
        }
        return Request("GET", "search", fields)

    def _read(self, answer: Mapping[str, Any]) -> ResultPage:
        entries = tuple(
            Entry(
                found["url"],
                found.get("title") or "",
                found.get("content") or "",
                found.get("publishedDate") or "",
            )
            for found in answer["results"]
            if found.get("url")  # tables of facts, for instance, lead nowhere
        )
        silent = [
            (plain_text(engine), plain_text(reason))
            for engine, reason in answer.get("unresponsive_engines", ())
        ]
        if silent and not entries:
            named = ", ".join(f"{engine} ({reason})" for engine, reason in silent)
            reason = f"nothing was found, but not all was searched; silent are {named}"
            raise Failure(_cause([reason for _, reason in silent]), reason, 200)
        return ResultPage(
            entries,
            tuple(f"searxng: {engine} did not answer: {reason}" for engine, reason in silent),
        )


def _cause(reasons: list[str]) -> EngineFailure:
    """Return what kept most engines from answering."""
    causes: Counter[EngineFailure] = Counter(
        next((cause for words, cause in _CAUSES.items() if words in reason.lower()), "unreachable")
        for reason in reasons
    )
    return causes.most_common(1)[0][0]

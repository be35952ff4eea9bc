"""How each engine is asked, and what its answers say beside their results."""

from typing import Any

import pytest

from rag.core.documents import Document
from rag.core.errors import EngineFailed, InputError
from rag.core.sensitivity import INTERNAL, PUBLIC
from rag.core.web import WebQuery
from rag.testing.loopback_web import LoopbackSearXNG
from rag.testing.search_engine_conformance import PAGES
from rag.web.engines import ENGINES, load_engine
from rag.web.engines.ddgs import DDGS
from rag.web.engines.searxng import SearXNG
from tests.web.engines.conftest import Open
from tests.web.engines.servers import Reply, said

THE = "the"
"""A word of all titles."""


TIME_RANGES = [
    ("searxng", "time_range", ["day", "week", "month", "year"]),
    ("brave", "freshness", ["pd", "pw", "pm", "py"]),
    ("tavily", "time_range", ["day", "week", "month", "year"]),
    ("serper", "tbs", ["qdr:d", "qdr:w", "qdr:m", "qdr:y"]),
    ("google", "dateRestrict", ["d1", "w1", "m1", "y1"]),
]


@pytest.mark.parametrize(("name", "field", "values"), TIME_RANGES)
def test_time_ranges(name: str, field: str, values: list[str], opened: Open) -> None:
    server, engine = opened(name)
    for time_range in (None, "day", "week", "month", "year"):
        engine.search_web([WebQuery("heron", time_range=time_range)])
    assert [request.fields.get(field) for request in server.requests] == [None, *values]


PAGED = [
    ("searxng", 25, [{"pageno": "1"}, {"pageno": "2"}, {"pageno": "3"}]),
    ("brave", 25, [{"offset": "0", "count": "20"}, {"offset": "1", "count": "20"}]),
    ("brave", 12, [{"offset": "0", "count": "12"}]),
    ("tavily", 12, [{"max_results": 12}]),
    ("serper", 25, [{"page": 1, "num": 10}, {"page": 2, "num": 10}, {"page": 3, "num": 10}]),
    ("google", 25, [{"start": "1"}, {"start": "11"}, {"start": "21", "num": "10"}]),
    ("google", 4, [{"start": "1", "num": "4"}]),
]


@pytest.mark.parametrize(("name", "count", "requests"), PAGED)
def test_pages(name: str, count: int, requests: list[dict[str, Any]], opened: Open) -> None:
    server, engine = opened(name, PAGES, price=2.0)
    (found,) = engine.search_web([WebQuery(THE, count=count)])
    assert [each.url for each in found.results] == [each.url for each in PAGES[:count]]
    assert [each.rank for each in found.results] == [*range(1, count + 1)]
    assert found.notes == ()
    assert found.usage.cost == 2.0 * len(requests)
    assert engine.cost(WebQuery(THE, count=count)) == found.usage.cost
    assert len(server.requests) == len(requests)
    for request, expected in zip(server.requests, requests, strict=True):
        assert expected.items() <= request.fields.items()


def test_no_page_is_asked_for_after_an_empty_one(opened: Open) -> None:
    server, engine = opened("serper", PAGES)
    (found,) = engine.search_web([WebQuery("heron", count=60)])
    assert len(found.results) == 9
    assert len(server.requests) == 2


def test_a_page_that_is_missing_is_noted(opened: Open) -> None:
    server, engine = opened("serper", PAGES, max_attempts=1)
    server.script = [said({"organic": [{"link": "http://a.example"}]}), Reply(503)]
    (found,) = engine.search_web([WebQuery(THE, count=30)])
    assert [each.url for each in found.results] == ["http://a.example"]
    assert len(found.notes) == 1
    assert "page 2 of the results is missing: it answered 503" in found.notes[0]


def test_more_than_an_engine_gives_is_noted(opened: Open) -> None:
    (found,) = opened("tavily", PAGES)[1].search_web([WebQuery(THE, count=27)])
    assert len(found.results) == 20
    assert found.notes == ("tavily gives no more than 20 results",)


@pytest.mark.parametrize("words", ["word " * 60, "x" * 500])
def test_a_query_too_long_for_brave_is_cut(words: str, opened: Open) -> None:
    server, engine = opened("brave")
    (found,) = engine.search_web([WebQuery(words)])
    asked = server.requests[0].fields["q"]
    assert words.startswith(asked)
    assert len(asked) == (400 if " " not in words else 5 * 50 - 1)
    assert found.notes == (f"brave reads no longer queries and was asked: {asked}",)


SILENT = [["google", "Suspended: CAPTCHA"], ["qwant", "access denied"], ["bing", "CAPTCHA"]]


def test_what_did_not_answer_searxng_is_noted(opened: Open) -> None:
    server, engine = opened("searxng")
    results = [{"url": "https://a.example", "title": "A"}, {"url": None}, {"title": "a table"}]
    server.script = [said({"results": results, "unresponsive_engines": SILENT})]
    (found,) = engine.search_web([WebQuery("heron")])
    assert [each.url for each in found.results] == ["https://a.example"]
    assert found.notes == (
        "searxng: google did not answer: Suspended: CAPTCHA",
        "searxng: qwant did not answer: access denied",
        "searxng: bing did not answer: CAPTCHA",
    )


@pytest.mark.parametrize(
    ("silent", "cause"),
    [
        (SILENT, "captcha"),
        ([["brave", "Suspended: too many requests"]], "rate_limited"),
        ([["duckduckgo", "timeout"], ["bing", "timeout"], ["a", "CAPTCHA"]], "timeout"),
        ([["qwant", "Suspended: access denied"]], "blocked"),
        ([["mojeek", "HTTP connection error"], ["yahoo", "unexpected crash"]], "unreachable"),
    ],
)
def test_nothing_found_while_some_were_silent_is_a_failure(
    silent: list[list[str]], cause: str, opened: Open
) -> None:
    server, engine = opened("searxng")
    server.script = [said({"results": [], "unresponsive_engines": silent})]
    with pytest.raises(EngineFailed, match="not all was searched") as caught:
        engine.search_web([WebQuery("heron")])
    assert caught.value.cause == cause
    for name, reason in silent:
        assert f"{name} ({reason})" in str(caught.value)
    server.script = [said({"results": []})]
    assert engine.search_web([WebQuery("heron")])[0].results == ()


def test_dates_and_markup(opened: Open) -> None:
    cases: dict[str, tuple[object, str]] = {
        "searxng": (
            {
                "results": [
                    {"url": "http://a", "title": "A", "publishedDate": "2026-01-03T10:00:00"}
                ]
            },
            "2026-01-03",
        ),
        "brave": (
            {
                "web": {
                    "results": [{"url": "http://a", "title": "<b>A</b>", "age": "January 3, 2026"}]
                }
            },
            "2026-01-03",
        ),
        "tavily": (
            {
                "results": [
                    {"url": "http://a", "title": "A", "published_date": "Sat, 03 Jan 2026 1:2"}
                ]
            },
            "2026-01-03",
        ),
        "serper": (
            {"organic": [{"link": "http://a", "title": "A", "date": "3 days ago"}]},
            "",
        ),
        "google": (
            {
                "items": [
                    {
                        "link": "http://a",
                        "title": "A",
                        "pagemap": {"metatags": [{"article:published_time": "2026-01-03"}]},
                    }
                ]
            },
            "2026-01-03",
        ),
    }
    for name, (answer, date) in cases.items():
        server, engine = opened(name)
        server.script = [said(answer)]
        (result,) = engine.search_web([WebQuery("heron")])[0].results
        assert (result.url, result.title, result.snippet) == ("http://a", "A", "")
        assert (result.date, result.rank, result.engine) == (date, 1, name)


def test_engines_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAG_SEARXNG_URL", raising=False)
    with pytest.raises(InputError, match="set RAG_SEARXNG_URL"):
        load_engine("searxng")
    monkeypatch.setenv("RAG_SEARXNG_URL", "http://127.0.0.1:8888")
    for name in ENGINES:
        engine = load_engine(name, price=0.5, discloses=INTERNAL)
        assert (engine.name, engine.price, engine.discloses) == (name, 0.5, INTERNAL)
        engine.close()  # type: ignore[attr-defined]
    with SearXNG("http://127.0.0.1:8888") as searxng, DDGS() as ddgs:
        assert searxng.discloses == ddgs.discloses == PUBLIC


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bing", "no search engine 'bing'; there are searxng, brave"),
        ("ddgs@http://127.0.0.1", "has no address"),
        ("searxng@127.0.0.1:8888", "is no base URL"),
    ],
)
def test_names_that_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_engine(name)


def test_the_searxng_of_the_test_kit() -> None:
    documents = [
        Document(f"https://a.example/{n}", "A heron waits.", title=f"Heron {n}", metadata=metadata)
        for n, metadata in enumerate([{"date": "2026-01-03"}, {}] * 6)
    ]
    silent = [("google", "CAPTCHA")]
    with (
        LoopbackSearXNG(documents, unresponsive=silent) as server,
        SearXNG(server.url()) as engine,
    ):
        (found,) = engine.search_web([WebQuery("heron", count=12)])
        assert {each.url for each in found.results} == {each.id for each in documents}
        assert {each.date for each in found.results} == {"2026-01-03", ""}
        assert found.notes == ("searxng: google did not answer: CAPTCHA",)
        with pytest.raises(EngineFailed, match=r"google \(CAPTCHA\)"):
            engine.search_web([WebQuery("basilisk")])


def test_a_query_chooses_no_engines_of_searxng() -> None:
    with LoopbackSearXNG([Document("a", "heron")]) as server, SearXNG(server.url()) as engine:
        engine.search_web([WebQuery("!images !!g :fr heron -kite C++ wow!")])
    assert server.queries == ["images g fr heron -kite C++ wow!"]

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request as Asked
from urllib.request import urlopen

import pytest

from rag.core.documents import Document
from rag.testing.loopback_search import BM25
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb, ServedPage

HERONS = [
    Document("http://127.0.0.1/grey", "The grey heron waits for fish in shallow water.", "Grey"),
    Document("http://127.0.0.1/night", "Night herons hunt at night; a heron is patient.", "Night"),
    Document("http://127.0.0.1/owl", "Owls hear mice under snow.", "Owl"),
    Document("x", "A heron rookery is loud.", "Loud", uri="http://127.0.0.2/rookery"),
]


def get(url: str, **headers: str) -> Any:
    return urlopen(Asked(url, headers={k.replace("_", "-"): v for k, v in headers.items()}))


def status(url: str, **headers: str) -> int:
    try:
        with get(url, **headers) as answer:
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code


def asked(engine: LoopbackSearXNG, query: str, **options: object) -> Any:
    with get(
        engine.url("/search?" + urlencode({"q": query, "format": "json", **options}))
    ) as found:
        return json.load(found)


def test_serves_pages_and_remembers_who_asked() -> None:
    robots = "User-agent: *\nDisallow: /private"
    pages: dict[str, bytes | str | ServedPage] = {
        "/": "<p>Fischreiher</p>",
        "/robots.txt": robots,
        "/empty": b"",
        "/latin": ServedPage("Käfer".encode("latin-1"), "text/html; charset=latin-1"),
        "/page?id=3": "three",
        "/page": "any",
    }
    with LoopbackWeb(pages) as web:
        with get(web.url("/robots.txt"), user_agent="test") as answer:
            assert answer.read().decode() == robots
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        for path, body in (
            ("/", b"<p>Fischreiher</p>"),
            ("/empty", b""),
            ("/latin", b"K\xe4fer"),
            ("/page?id=3", b"three"),
            ("/page?id=4", b"any"),
        ):
            with get(web.url(path)) as answer:
                assert answer.read() == body
        assert status(web.url("/missing")) == 404
        pages["/late"] = "<p>new</p>"
        assert status(web.url("/late")) == 200
    assert [each.path for each in web.requests][:3] == ["/robots.txt", "/", "/empty"]
    assert web.requests[0].headers["user-agent"] == "test"


def test_serves_statuses_headers_and_what_is_unchanged() -> None:
    pages = {
        "/moved": ServedPage(status=302, headers={"Location": "/"}),
        "/kept": ServedPage("kept", headers={"ETag": '"1"', "Cache-Control": "max-age=60"}),
    }
    with LoopbackWeb(pages) as web:
        connection = http.client.HTTPConnection(str(urlsplit(web.url()).netloc))
        connection.request("GET", "/moved")
        moved = connection.getresponse()
        moved.read()
        assert (moved.status, moved.headers["location"]) == (302, "/")
        connection.request("GET", "/kept", headers={"If-None-Match": '"1"'})
        unchanged = connection.getresponse()
        assert (unchanged.status, unchanged.read()) == (304, b"")
        assert unchanged.headers["cache-control"] == "max-age=60"
        connection.close()
        assert status(web.url("/kept"), if_none_match='"2"') == 200


def test_several_addresses_are_several_domains() -> None:
    with LoopbackWeb({"/": "one"}) as one, LoopbackWeb({"/": "two"}, host="127.0.0.2") as two:
        assert {urlsplit(web.url("/")).hostname for web in (one, two)} == {"127.0.0.1", "127.0.0.2"}
        with get(one.url("/")) as first, get(two.url("/")) as second:
            assert (first.read(), second.read()) == (b"one", b"two")


def test_serves_a_folder_and_nothing_outside_it(tmp_path: Path) -> None:
    (tmp_path / "outside.html").write_text("secret")
    site = tmp_path / "site"
    (site / "birds").mkdir(parents=True)
    (site / "birds" / "grey heron.html").write_text("<p>waits</p>")
    with LoopbackWeb.of_folder(site) as web:
        assert list(web.pages) == ["/birds/grey heron.html"]
        with get(web.url("/birds/grey%20heron.html")) as answer:
            assert answer.read() == b"<p>waits</p>"
        assert status(web.url("/%2e%2e/outside.html")) == 404


def test_answers_many_at_once() -> None:
    with LoopbackWeb({f"/{number}": str(number) for number in range(100)}) as web:

        def read(number: int) -> bytes:
            with get(web.url(f"/{number}")) as answer:
                return bytes(answer.read())

        with ThreadPoolExecutor(16) as threads:
            bodies = list(threads.map(read, range(100)))
    assert bodies == [str(number).encode() for number in range(100)]
    assert len(web.requests) == 100


def test_searches_as_searxng_does() -> None:
    with LoopbackSearXNG(HERONS, unresponsive=[("brave", "CAPTCHA")]) as engine:
        reply = asked(engine, "patient heron")
        assert asked(engine, "walrus")["results"] == []
        for path in ("/search?q=heron", "/search?q=heron&format=csv"):
            assert status(engine.url(path)) == 403
        assert status(engine.url("/search?format=json")) == 400
        assert status(engine.url("/stats")) == 404
    assert engine.queries == ["patient heron", "walrus"]
    assert (reply["query"], reply["number_of_results"]) == ("patient heron", 3)
    assert reply["unresponsive_engines"] == [["brave", "CAPTCHA"]]
    best = reply["results"][0]
    assert (best["title"], best["url"]) == ("Night", "http://127.0.0.1/night")
    assert best["content"] == HERONS[1].text
    assert "http://127.0.0.2/rookery" in {each["url"] for each in reply["results"]}


def test_shuffles_what_it_finds_and_nothing_else() -> None:
    documents = [
        Document(f"http://127.0.0.1/{n}", "heron " * (n + 1) + "fish " * 40) for n in range(25)
    ]
    with (
        LoopbackSearXNG(documents) as ordered,
        LoopbackSearXNG(documents, order="shuffled", seed=1) as shuffled,
        LoopbackSearXNG(documents, order="shuffled", seed=2) as other,
    ):
        pages = [
            [[each["url"] for each in asked(engine, "heron", pageno=n)["results"]] for n in (1, 2)]
            for engine in (ordered, shuffled, shuffled, other)
        ]
        assert len(asked(ordered, "heron", pageno=3)["results"]) == 5
        assert asked(ordered, "heron", pageno=4)["results"] == []
    first, second, again, third = pages
    assert [set(page) for page in first] == [set(page) for page in second]
    assert first != second == again != third


def test_searches_by_date() -> None:
    def day(days: int) -> str:
        return str((datetime.now(UTC) - timedelta(days=days)).date())

    documents = [
        Document("http://127.0.0.1/new", "heron", metadata={"date": day(2)}),
        Document("http://127.0.0.1/old", "heron", metadata={"date": day(40)}),
        Document("http://127.0.0.1/undated", "heron"),
    ]
    with LoopbackSearXNG(documents) as engine:
        found = {
            span: [each["url"].rpartition("/")[2] for each in reply["results"]]
            for span in ("", "week", "year")
            for reply in [asked(engine, "heron", time_range=span)]
        }
        (new,) = asked(engine, "heron", time_range="month")["results"]
    assert found == {"": ["new", "old", "undated"], "week": ["new"], "year": ["new", "old"]}
    assert new["publishedDate"].startswith(day(2))


def test_a_snippet_is_where_the_query_is() -> None:
    text = " ".join([*["filler"] * 200, "the", "patient", "heron", "waits", *["more"] * 200])
    search = BM25([text, "filler"])
    snippet = search.snippet("patient heron", text)
    assert "patient heron" in snippet
    assert len(snippet.split()) == 25
    assert search.snippet("heron", "") == ""


@pytest.mark.parametrize("texts", [[], [""], ["same", "same"]])
def test_ranking_bears_small_sets(texts: list[str]) -> None:
    assert BM25(texts).rank("same word") == [n for n, text in enumerate(texts) if text]

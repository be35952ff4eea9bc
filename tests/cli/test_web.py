"""The web on the command line: real engine, real pages, real commands, all on loopback."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.core.documents import Document
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb, ServedPage
from tests.cli.test_commands import rag, rag_json

PAGES = {
    "/heron.html": "The grey heron stands still for hours and eats up to 500 grams of fish a day.",
    "/kite.html": "The red kite steals paper and rags for its nest from gardens in spring.",
    "/owl.html": "The barn owl hears a mouse below the snow and flies without a sound at night.",
}


def html(title: str, text: str) -> str:
    return (
        f"<html><head><title>{title}</title></head><body><nav><a href='/'>Home</a></nav>"
        f"<article><h1>{title}</h1><p>{text}</p><p>Seen from the <a href='/hide.html'>hide</a> "
        "at the lake, where the society counts birds every month of the year.</p></article>"
        "<footer>All rights reserved</footer></body></html>"
    )


@pytest.fixture(scope="module")
def web() -> Iterator[LoopbackWeb]:
    pages = {path: html(path[1:-5].title(), text) for path, text in PAGES.items()}
    with LoopbackWeb(pages) as served:
        yield served


@pytest.fixture(scope="module")
def engine(web: LoopbackWeb) -> Iterator[LoopbackSearXNG]:
    documents = [
        Document(path, text, path[1:-5].title(), web.url(path)) for path, text in PAGES.items()
    ]
    with LoopbackSearXNG(documents) as served:
        yield served


@pytest.fixture
def options(engine: LoopbackSearXNG, tmp_path: Path) -> list[str]:
    cache = str(tmp_path / "web.sqlite")
    return ["--engine", f"searxng@{engine.url()}", "--allow", "127.0.0.0/8", "--web-cache", cache]


def test_search_prints_passages_of_pages(options: list[str], web: LoopbackWeb) -> None:
    done = rag("web", "search", "how much fish does the grey heron eat", "--lexical", *options)
    assert "500 grams" in done.stdout
    assert web.url("/heron.html") in done.stdout
    assert "All rights reserved" not in done.stdout


def test_search_as_json_says_what_it_used(options: list[str]) -> None:
    said = rag_json("web", "search", "red kite nest", "--lexical", "--top-k", 1, *options)
    (hit,) = said["hits"]
    assert "steals paper" in hit["passage"]["text"]
    assert hit["passage"]["metadata"]["sensitivity"] == "public"
    assert (said["usage"]["searches"], said["usage"]["fetches"]) == (1, 1)


def test_finding_nothing_is_not_an_error(options: list[str]) -> None:
    assert "nothing found" in rag("web", "search", "zymurgy", "--lexical", *options).stdout


def test_being_blocked_is_one() -> None:
    with LoopbackSearXNG([], unresponsive=[("brave", "too many requests")]) as blocked:
        done = rag(
            "web", "search", "heron", "--lexical", "--engine", f"searxng@{blocked.url()}", code=8
        )
    assert "brave" in done.stderr


def test_without_an_engine_the_engines_are_named() -> None:
    assert "searxng@" in rag("web", "search", "heron", "--lexical", code=2).stderr


def test_read_prints_main_text_and_links(options: list[str], web: LoopbackWeb) -> None:
    done = rag("web", "read", web.url("/owl.html"), "--links", *options[2:])
    assert "# Owl" in done.stdout
    assert "flies without a sound" in done.stdout
    assert web.url("/hide.html") in done.stdout
    assert "All rights" not in done.stdout


def test_private_addresses_are_refused(web: LoopbackWeb, tmp_path: Path) -> None:
    cache = tmp_path / "web.sqlite"
    done = rag("web", "read", web.url("/owl.html"), "--web-cache", cache, code=8)
    assert "--allow" in done.stderr or "allow" in done.stderr


def test_one_page_of_two_is_done_in_part(options: list[str], web: LoopbackWeb) -> None:
    done = rag(
        "web", "read", web.url("/owl.html"), web.url("/gone"), *options[2:], "--json", code=7
    )
    good, bad = json.loads(done.stdout)["pages"]
    assert "without a sound" in good["document"]["text"]
    assert (bad["url"], bad["cause"]) == (web.url("/gone"), "status")


def test_ask_the_web_alone(options: list[str], web: LoopbackWeb) -> None:
    question = "What does the red kite steal for its nest?"
    said = rag_json("ask", question, "--web", "--extractive", *options)
    assert "paper and rags" in said["text"]
    assert said["citations"][0]["uri"] == web.url("/kite.html")
    assert said["citations"][0]["retrieved"].endswith("Z")
    assert said["sensitivity"] == []


def test_ask_a_collection_and_the_web(options: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "budget.md").write_text("# Budget\n\nThe hide at the lake costs 4000 euros a year.\n")
    collection = tmp_path / "notes.rag"
    rag("index", "create", collection, folder, "--sensitivity", "board", "--quiet")
    question = "What does the hide at the lake cost a year?"
    said = rag_json("ask", collection, question, "--web", "--extractive", *options)
    assert "4000 euros" in said["text"]
    assert said["sensitivity"] == ["board"]
    assert {"http", "file"} == {hit["passage"]["uri"].split(":")[0] for hit in said["hits"]}


def test_ask_reads_with_a_model(options: list[str]) -> None:
    done = rag(
        "ask", "What does the barn owl hear below the snow?", "--web", "--top-k", 1, *options
    )
    assert "Sources" in done.stdout
    assert re.search(r"searches 1, pages fetched \d, answer public", done.stdout)


def test_ask_needs_a_collection_or_the_web() -> None:
    assert "--web" in rag("ask", "What does the heron eat?", code=2).stderr


def test_options_that_contradict_each_other_are_refused() -> None:
    for option in ("--extract", "--search=auto"):
        assert "--extractive" in rag("ask", "q", "--web", option, "--extractive", code=2).stderr
        assert "need --web" in rag("ask", "docs", "q", option, code=2).stderr


def test_robots_are_respected_unless_told_otherwise(tmp_path: Path) -> None:
    pages: dict[str, str | ServedPage] = {
        "/robots.txt": ServedPage("User-agent: *\nDisallow: /", "text/plain"),
        "/a.html": html("A", PAGES["/owl.html"]),
    }
    with LoopbackWeb(pages) as served:
        options = ["--allow", served.host, "--web-cache", tmp_path / "web.sqlite"]
        assert "robots" in rag("web", "read", served.url("/a.html"), *options, code=8).stderr
        done = rag("web", "read", served.url("/a.html"), *options, "--ignore-robots")
    assert "flies without a sound" in done.stdout

"""No page changes whom we ask, or what we fetch."""

from collections.abc import Iterator

import pytest

from rag.core.documents import Document
from rag.core.errors import SearchFailed
from rag.retrievers.web import WebRetriever
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb, ServedPage
from rag.web.engines.searxng import SearXNG
from rag.web.fetcher import WebFetcher
from tests.web.injection.conftest import SmallWeb
from tests.web.injection.obedience import CASES, SEARCHING_AGAIN, SEARCHING_FIRST
from tests.web.injection.pages import METADATA_SERVICE, page


@pytest.mark.parametrize(("name", "attack"), [each for each in CASES if each[0] in SEARCHING_FIRST])
def test_the_calls_are_those_of_the_clean_page(web: SmallWeb, name: str, attack: str) -> None:
    clean, attacked = web.ask(name), web.ask(name, attack)
    assert attacked.searches == clean.searches
    assert attacked.fetched == clean.fetched == sorted(clean.known)
    assert not attacked.attacker


@pytest.mark.parametrize(("name", "attack"), [each for each in CASES if each[0] in SEARCHING_AGAIN])
def test_a_model_that_obeys_reaches_nothing_but_the_engine(
    web: SmallWeb, name: str, attack: str
) -> None:
    run = web.ask(name, attack)
    assert not run.attacker
    assert set(run.fetched) == run.known
    assert all(path.startswith("/search?") for path in run.searches)
    assert 2 <= len(run.searches) <= 6, "as many as the allocation allows"


@pytest.fixture
def inside() -> Iterator[LoopbackWeb]:
    """A server of the network within, which nobody outside may reach."""
    with LoopbackWeb({"/admin": "<p>Secret of the grey heron</p>"}, host="127.0.0.77") as server:
        yield server


def test_results_that_lead_inside_are_not_fetched(inside: LoopbackWeb) -> None:
    port = inside.url().rpartition(":")[2]
    pages: dict[str, bytes | str | ServedPage] = {
        "/heron": page(),
        "/moved": ServedPage(status=302, headers={"Location": inside.url("/admin")}),
        "/far": ServedPage(status=301, headers={"Location": METADATA_SERVICE}),
        "/file": ServedPage(status=302, headers={"Location": "file:///etc/passwd"}),
    }
    elsewhere = [
        inside.url("/admin"),
        METADATA_SERVICE,
        f"http://localhost:{port}/admin",
        f"http://[::ffff:127.0.0.77]:{port}/admin",
        f"http://0x7f00004d:{port}/admin",
        f"http://2130706509:{port}/admin",
        f"http://127.0.0.1@127.0.0.77:{port}/admin",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
    ]
    with LoopbackWeb(pages) as web, WebFetcher(allow=["127.0.0.1"]) as fetcher:
        urls = [*map(web.url, pages), *elsewhere]
        known = [Document(url, "A page on the grey heron.") for url in urls]
        with LoopbackSearXNG(known) as good, LoopbackSearXNG(known[1:]) as bad:
            retrievers = [
                WebRetriever(
                    [SearXNG(engine.url(), per_second=1000)],
                    fetcher,
                    results=20,
                    pages=20,
                    per_domain=20,
                )
                for engine in (good, bad)
            ]
            found = retrievers[0].find("grey heron")
            with pytest.raises(SearchFailed, match=r"could be fetched .*address"):
                retrievers[1].find("grey heron")
    assert {hit.passage.uri for hit in found.hits} == {urls[0]}
    assert any("could not be fetched" in note for note in found.notes)
    assert not inside.requests

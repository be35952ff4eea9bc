"""The library itself, with a source of its own kind on a loopback server, and its errors."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import pytest

from rag.core.errors import EngineFailed
from rag.core.protocols import SearchEngine
from rag.core.web import WebQuery, WebResult
from rag.testing.search_engine_conformance import PAGES, SearchEngineConformance
from rag.web.engines.ddgs import DDGS
from tests.web.engines.servers import EngineServer, Reply, Request, matching

pytest.importorskip("ddgs")
from ddgs import ddgs as library
from ddgs.base import BaseSearchEngine
from ddgs.engines import ENGINES
from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException
from ddgs.results import TextResult


class Loopback(BaseSearchEngine[TextResult]):  # type: ignore[misc, unused-ignore]
    """A source that ddgs reads as it reads all others."""

    name = "loopback"
    category = "text"
    provider = "loopback"
    search_method = "GET"
    items_xpath = "//li"
    elements_xpath: ClassVar[Mapping[str, str]] = {
        "title": "./a/text()",
        "href": "./a/@href",
        "body": "./p//text()",
    }

    def build_payload(self, query: str, *args: Any, **options: Any) -> dict[str, Any]:
        return {"q": query, "timelimit": options["timelimit"] or ""}


class Client(library.DDGS):  # type: ignore[misc, unused-ignore]
    """ddgs, asking nobody but the loopback source."""

    def text(self, query: str, **options: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = super().text(query, backend="loopback", **options)
        return found


def listing(pages: Sequence[WebResult], query: str) -> Reply:
    items = "".join(
        f"<li><a href='{each.url}'>{each.title}</a><p>{each.snippet}</p></li>".replace("&", "&amp;")
        for each in matching(pages, query, 0, 100)
    )
    return Reply(200, f"<html><body><ul>{items}</ul></body></html>".encode(), "text/html")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineServer]:
    """A server that the source reads; its index is the pages of the suite."""
    source = EngineServer(lambda request, pages: None)

    def reply(request: Request) -> Reply:
        source.requests.append(request)
        return source.script.pop(0) if source.script else listing(PAGES, request.fields["q"])

    monkeypatch.setattr(source, "reply", reply)
    monkeypatch.setattr(Loopback, "search_url", source.url, raising=False)
    monkeypatch.setitem(ENGINES["text"], "loopback", Loopback)
    yield source
    source.close()


class TestDDGS(SearchEngineConformance):
    @pytest.fixture(autouse=True)
    def _serving(self, server: EngineServer) -> None:
        self.server = server

    def make_engine(self, pages: Sequence[WebResult]) -> SearchEngine:
        return DDGS(client=Client, per_second=1e4, price=0.25)

    def make_failing_engine(self) -> SearchEngine:
        self.server.script = [Reply(403), Reply(403)]
        return DDGS(client=Client, per_second=1e4, max_attempts=1)

    def test_nothing_found(self, engine: SearchEngine) -> None:
        """ddgs cannot tell it from a refusal."""
        with pytest.raises(EngineFailed, match="found nothing or refused") as caught:
            engine.search_web([WebQuery("basilisk")])
        assert caught.value.cause == "blocked"


@pytest.mark.parametrize("time_range", ["day", "week", "month", "year"])
def test_time_ranges(time_range: Any, server: EngineServer) -> None:
    with DDGS(client=Client, per_second=1e4) as engine:
        engine.search_web([WebQuery("heron", time_range=time_range)])
    assert server.requests[0].fields["timelimit"] == time_range[0]


def test_a_source_that_refuses(server: EngineServer) -> None:
    server.script = [Reply(429)]
    with DDGS(client=Client, per_second=1e4) as engine, pytest.raises(EngineFailed) as caught:
        engine.search_web([WebQuery("heron")])
    assert (caught.value.cause, caught.value.attempts, len(server.requests)) == ("blocked", 1, 1)


def test_a_source_that_is_not_there(server: EngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loopback, "search_url", "http://127.0.0.1:9")
    engine = DDGS(client=Client, per_second=1e4, max_attempts=2)
    with engine, pytest.raises(EngineFailed, match="its sources failed") as caught:
        engine.search_web([WebQuery("heron")])
    assert (caught.value.cause, caught.value.attempts) == ("unreachable", 2)


class Raising:
    """A client that fails as ddgs fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def text(self, query: str, **options: Any) -> list[dict[str, str]]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "cause", "attempts"),
    [
        (RatelimitException("202 Ratelimit"), "rate_limited", 2),
        (TimeoutException("operation timed out"), "timeout", 1),
        (DDGSException("ConnectError: refused"), "unreachable", 2),
        (DDGSException("No results found."), "blocked", 1),
    ],
)
def test_its_errors(error: Exception, cause: str, attempts: int) -> None:
    engine = DDGS(client=partial(Raising, error), per_second=1e4)
    with engine, pytest.raises(EngineFailed) as caught:
        engine.search_web([WebQuery("heron")])
    assert (caught.value.cause, caught.value.attempts) == (cause, attempts)


def test_a_search_that_takes_too_long() -> None:
    class Slow:
        def text(self, query: str, **options: Any) -> list[dict[str, str]]:
            time.sleep(0.3)
            return []

    engine = DDGS(client=Slow, per_second=1e4, timeout=0.05)
    with engine, pytest.raises(EngineFailed, match=r"no answer within 0\.05 s") as caught:
        engine.search_web([WebQuery("heron")])
    assert caught.value.cause == "timeout"


def test_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_OFFLINE", "1")
    with DDGS() as engine, pytest.raises(EngineFailed) as caught:
        engine.search_web([WebQuery("heron")])
    assert caught.value.cause == "offline"

import sqlite3
from functools import partial
from pathlib import Path

import pytest

from rag.core.errors import FetchFailed, StorageError
from rag.web import http_cache
from tests.web.fetching import Fetching, answered
from tests.web.servers import Server, in_turn, redirects, says, validated

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fetching(fetching: Fetching, clock: Clock, tmp_path: Path) -> Fetching:
    """Return a maker of fetchers that share a clock and, unless told otherwise, a file."""
    return partial(fetching, cache=tmp_path / "pages.sqlite", clock=clock)


@pytest.mark.parametrize("memory", [False, True])
def test_a_fresh_page_is_not_asked_for_again(
    server: Server, fetching: Fetching, clock: Clock, memory: bool
) -> None:
    url = answered(server, says("some text", cache_control="max-age=60"))
    fetcher = fetching(**{"cache": None} if memory else {})
    first = fetcher.fetch(url)
    clock.now += 59
    second = fetcher.fetch(f"{url}#part")
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.document == first.document
    assert (len(server.requests), server.robots) == (1, 1)
    clock.now += 1
    assert not fetcher.fetch(url).from_cache
    assert len(server.requests) == 2


def test_fetchers_share_a_file_and_fresh_pages_need_no_robots_txt(
    server: Server, fetching: Fetching
) -> None:
    url = answered(server, says("some text", cache_control="max-age=60"))
    fetching().fetch(url)
    assert fetching().fetch(url).from_cache
    assert (len(server.requests), server.robots) == (1, 1)


def test_a_stale_page_is_confirmed(server: Server, fetching: Fetching, clock: Clock) -> None:
    url = answered(server, validated("some text", cache_control="max-age=60"))
    fetcher = fetching()
    first = fetcher.fetch(url)
    clock.now += 100
    second = fetcher.fetch(url)
    assert second.from_cache
    assert "if-none-match" not in server.requests[0].headers
    assert server.requests[1].headers["if-none-match"] == '"1"'
    assert second.document.text == first.document.text
    assert first.document.metadata["retrieved"] == "2027-01-15T08:00:00Z"
    assert second.document.metadata["retrieved"] == "2027-01-15T08:01:40Z"
    clock.now += 59
    assert fetcher.fetch(url).from_cache
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("name", "value", "condition"),
    [
        ("etag", 'W/"caf\xe9"', "if-none-match"),
        ("last_modified", "Fri, 15 Jan 2027 07:59:59 GMT", "if-modified-since"),
    ],
)
def test_validators_are_sent_back_as_they_came(
    server: Server, fetching: Fetching, name: str, value: str, condition: str
) -> None:
    url = answered(server, says("some text", cache_control="no-cache", **{name: value}))
    fetcher = fetching()
    for _ in range(2):
        assert not fetcher.fetch(url).from_cache
    assert server.requests[1].headers[condition] == value


def test_a_page_that_is_gone_is_forgotten(server: Server, fetching: Fetching) -> None:
    url = answered(server, in_turn(says("some text", etag='"1"'), says("", 410), says("new text")))
    fetcher = fetching()
    fetcher.fetch(url)
    with pytest.raises(FetchFailed, match="answered 410 Gone"):
        fetcher.fetch(url)
    assert fetcher.fetch(url).document.text == "new text"
    assert "if-none-match" not in server.requests[2].headers


def test_a_stale_page_that_has_changed_is_replaced(
    server: Server, fetching: Fetching, clock: Clock
) -> None:
    old, new = validated("old text"), validated("new text", '"2"')
    url = answered(server, in_turn(old, new))
    fetcher = fetching()
    assert fetcher.fetch(url).document.text == "old text"
    changed, confirmed = fetcher.fetch(url), fetcher.fetch(url)
    assert (changed.document.text, changed.from_cache) == ("new text", False)
    assert (confirmed.document.text, confirmed.from_cache) == ("new text", True)


def test_what_must_not_be_stored_is_not(server: Server, fetching: Fetching) -> None:
    url = answered(
        server, in_turn(says("old text", etag='"1"'), says("new text", cache_control="no-store"))
    )
    fetcher = fetching()
    for _ in range(3):
        assert not fetcher.fetch(url).from_cache
    assert ["if-none-match" in each.headers for each in server.requests] == [False, True, False]


def test_vary(server: Server, fetching: Fetching) -> None:
    url = answered(server, says("some text", cache_control="max-age=60", vary="User-Agent"))
    fetching().fetch(url)
    assert fetching().fetch(url).from_cache
    assert not fetching(user_agent="other/1").fetch(url).from_cache


def test_a_permanent_redirect_may_be_fresh_too(server: Server, fetching: Fetching) -> None:
    server.answers["/moved"] = redirects("/", 301, cache_control="max-age=60")
    answered(server, says("some text", cache_control="max-age=60"))
    fetcher = fetching()
    pages = [fetcher.fetch(f"{server.url}/moved") for _ in range(2)]
    assert [page.from_cache for page in pages] == [False, True]
    assert server.paths == ["/moved", "/"]


def test_what_came_from_where_requests_may_no_longer_go_is_not_served(
    server: Server, fetching: Fetching
) -> None:
    url = answered(server, says("some text", cache_control="max-age=60"))
    fetching().fetch(url)
    with pytest.raises(FetchFailed, match="not a public address"):
        fetching(allow=[]).fetch(url)


def test_fresh_pages_are_there_offline(
    server: Server, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = answered(server, says("some text", cache_control="max-age=60"))
    fetching().fetch(url)
    server.close()
    monkeypatch.setenv("RAG_OFFLINE", "1")
    assert fetching().fetch(url).from_cache


def test_a_file_that_is_damaged_meanwhile_harms_no_page(
    server: Server, fetching: Fetching, tmp_path: Path
) -> None:
    url = answered(server, says("some text", cache_control="max-age=60"))
    fetcher = fetching()
    fetcher.fetch(url)
    connection = sqlite3.connect(tmp_path / "pages.sqlite")
    connection.execute("UPDATE answers SET headers = '{'")
    connection.commit()
    connection.close()
    assert [fetcher.fetch(url).from_cache for _ in range(2)] == [False, True]


def test_a_file_that_others_hold_is_an_error(
    server: Server, fetching: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_cache, "_PATIENCE", 0.05)
    url = answered(server, says("some text", cache_control="max-age=60"))
    fetcher = fetching()
    connection = sqlite3.connect(tmp_path / "pages.sqlite")
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked; make room"):
        fetcher.fetch(url)
    connection.close()
    assert not fetcher.fetch(url).from_cache
    assert fetcher.fetch(url).from_cache

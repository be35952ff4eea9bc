import asyncio

import pytest

from rag.core.errors import BatchError, FetchFailed
from tests.web.fetching import Fetching, refused
from tests.web.servers import (
    Behaviour,
    Server,
    endless,
    in_turn,
    raw,
    redirects,
    resets,
    says,
    silent,
    slow,
)


@pytest.fixture
def server(server: Server) -> Server:
    server.answers["*"] = says("some text")
    return server


RULES = """\ufeff
# Rules for robots
User-agent: *
Disallow: /

User-agent: RagMeter
User-agent: other
Disallow: /private/
Disallow: /*.pdf$
Allow: /private/open
Crawl-delay: 100
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/page?q=1", True),
        ("/private/", False),
        ("/private/a?q=1", False),
        ("/private/open/a", True),
        ("/a.pdf", False),
        ("/a.pdf?download", True),
        ("/%70rivate/", False),
    ],
)
def test_rules_for_us_are_followed(
    server: Server, fetching: Fetching, path: str, allowed: bool
) -> None:
    server.answers["/robots.txt"] = says(RULES)
    if allowed:
        assert fetching().fetch(server.url + path).document.text == "some text"
        return
    error = refused(fetching(), server.url + path)
    assert error.cause == "robots"
    assert "robots.txt disallows it" in error.reason
    assert server.requests == []


def test_rules_are_for_who_says_so(server: Server, fetching: Fetching) -> None:
    server.answers["/robots.txt"] = says(RULES)
    assert refused(fetching(user_agent="somebody/1.0"), server.url).cause == "robots"
    assert fetching(user_agent="other/1.0 (+https://example.org)").fetch(server.url)


def test_robots_txt_can_be_left_alone(server: Server, fetching: Fetching) -> None:
    server.answers["/robots.txt"] = says(RULES)
    assert fetching(respect_robots=False).fetch(f"{server.url}/private/")
    assert server.robots == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429])
def test_a_site_without_robots_txt_allows_everything(
    server: Server, fetching: Fetching, status: int
) -> None:
    server.answers["/robots.txt"] = says("Disallow: /", status)
    assert fetching().fetch(server.url)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (says("", 500), "answered 500"),
        (says("", 503, retry_after="3600"), "answered 503"),
        (resets, "connection failed"),
        (raw(b"nonsense\r\n\r\n"), "connection failed"),
        (redirects("/robots.txt"), "in a circle"),
        (endless(b"#" * 1000), "more than"),
    ],
)
def test_a_site_that_cannot_be_asked_disallows_everything(
    server: Server, fetching: Fetching, behaviour: Behaviour, reason: str
) -> None:
    server.answers["/robots.txt"] = behaviour
    error = refused(fetching(max_bytes=10_000), server.url)
    assert error.cause == "robots"
    assert "cannot be asked for, which disallows everything" in error.reason
    assert reason in error.reason
    assert server.requests == []


def test_so_does_one_that_does_not_answer_in_time(server: Server, fetching: Fetching) -> None:
    server.answers["/robots.txt"] = silent
    error = refused(fetching(timeout=0.3), server.url)
    assert error.cause == "robots"
    assert "no answer within 0.3 s" in error.reason


def test_a_server_that_is_gone_is_one_that_cannot_be_asked(fetching: Fetching) -> None:
    server = Server()
    server.close()
    error = refused(fetching(), server.url)
    assert error.cause == "robots"
    assert "connection failed" in error.reason


def test_robots_txt_may_be_elsewhere(server: Server, fetching: Fetching) -> None:
    server.answers["/robots.txt"] = redirects("/hop")
    server.answers["/hop"] = redirects(server.at("localhost", "/rules"), 301)
    server.answers["/rules"] = says("User-agent: *\nDisallow: /private")
    fetcher = fetching(allow=["127.0.0.0/8", "localhost"])
    assert fetcher.fetch(f"{server.url}/page")
    assert refused(fetcher, f"{server.url}/private").cause == "robots"


def test_robots_txt_must_not_be_where_nothing_may_be_fetched(
    server: Server, fetching: Fetching
) -> None:
    server.answers["/robots.txt"] = redirects("http://169.254.169.254/robots.txt")
    error = refused(fetching(), server.url)
    assert error.cause == "address"
    assert "169.254.169.254" in error.reason


def test_what_lies_beyond_500_kib_is_not_read(server: Server, fetching: Fetching) -> None:
    rules = f"User-agent: *\nDisallow: /private\n{'#' * 600_000}\nDisallow: /page\n"
    server.answers["/robots.txt"] = says(rules)
    fetcher = fetching()
    assert fetcher.fetch(f"{server.url}/page")
    assert refused(fetcher, f"{server.url}/private").cause == "robots"


@pytest.mark.parametrize("body", ["", "<html>not found</html>", b"\xff\xfe\0\0", b"\0" * 1000])
def test_anything_is_read_as_rules(server: Server, fetching: Fetching, body: str | bytes) -> None:
    server.answers["/robots.txt"] = says(body)
    assert fetching().fetch(server.url)


def test_each_origin_is_asked_once(server: Server, fetching: Fetching) -> None:
    server.answers["/robots.txt"] = slow(0.2, says("User-agent: *\nDisallow: /private"))
    urls = [f"{server.url}/{number}" for number in range(20)]
    others = [server.at("localhost", f"/{number}") for number in range(5)]
    fetcher = fetching(allow=["127.0.0.0/8", "localhost"])
    fetcher.fetch_many(urls + others)
    fetcher.fetch(f"{server.url}/more")
    assert server.robots == 2


def test_who_stops_waiting_does_not_take_the_rules_from_others(
    server: Server, fetching: Fetching
) -> None:
    asked = asyncio.Event()

    async def behave(request: object, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await slow(0.3, says("User-agent: *\nDisallow: /private"))(request, writer)

    server.answers["/robots.txt"] = behave
    fetcher = fetching(per_host=2)
    leaving = fetcher._loop.submit(fetcher._fetch(f"{server.url}/a"))
    staying = fetcher._loop.submit(fetcher._fetch(f"{server.url}/b"))
    server._loop.submit(asked.wait()).result(10)
    leaving.cancel()
    assert staying.result(10).document.text == "some text"
    assert server.robots == 1


def test_rules_last_a_day_and_failures_five_minutes(server: Server, fetching: Fetching) -> None:
    now = 1e9
    server.answers["/robots.txt"] = in_turn(
        says("", 500), says(""), says("User-agent: *\nDisallow: /")
    )
    fetcher = fetching(clock=lambda: now)
    outcomes = []
    for seconds in (0, 299, 2, 24 * 3600 - 1, 1):
        now += seconds
        try:
            outcomes.append(fetcher.fetch(server.url).document.text)
        except FetchFailed as error:
            outcomes.append(error.cause)
    assert outcomes == ["robots", "robots", "some text", "some text", "robots"]
    assert server.robots == 3


def test_what_is_disallowed_harms_nothing_else(server: Server, fetching: Fetching) -> None:
    server.answers["/robots.txt"] = says("User-agent: *\nDisallow: /private")
    with pytest.raises(BatchError) as caught:
        fetching().fetch_many([f"{server.url}/private", f"{server.url}/page"])
    first, second = caught.value.results
    assert first.cause == "robots"
    assert second.url == f"{server.url}/page"


def test_the_target_of_a_redirect_is_checked_too(server: Server, fetching: Fetching) -> None:
    server.answers["/robots.txt"] = says("User-agent: *\nDisallow: /private")
    server.answers["/page"] = redirects("/private")
    error = refused(fetching(), f"{server.url}/page")
    assert error.cause == "robots"
    assert f"it redirects to {server.url}/private" in error.reason

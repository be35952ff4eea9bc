import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rag.core.documents import Document
from rag.core.errors import BatchError, InputError, MissingExtra
from rag.web import fetcher as fetcher_module
from rag.web.fetcher import WebFetcher
from tests.web.fetching import LOOPBACK, TEXT, Fetching, answered, refused
from tests.web.servers import (
    Behaviour,
    Request,
    Server,
    redirects,
    says,
    silent,
)


@pytest.fixture
def fetching(fetching: Fetching) -> Fetching:
    return partial(fetching, respect_robots=False)


def test_a_page_is_fetched_and_read(server: Server, fetching: Fetching) -> None:
    page = fetching().fetch(f"{server.url}/page#part")
    assert page.url == f"{server.url}/page#part"
    assert page.document.id == page.document.uri == f"{server.url}/page"
    assert page.document.text == TEXT
    assert page.document.metadata["sensitivity"] == "public"
    assert (page.from_cache, page.bytes, page.retries) == (False, len(TEXT.encode()), 0)


def test_what_servers_are_told(server: Server, fetching: Fetching) -> None:
    server.answers["/from"] = redirects("/page", set_cookie="id=1; Path=/")
    with fetching() as fetcher:
        fetcher.fetch(f"{server.url}/from")
        fetcher.fetch(f"{server.url}/page")
    for request in server.requests:
        assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding"}
        assert request.headers["host"] == server.url.removeprefix("http://")
        assert request.headers["user-agent"].startswith("ragmeter/")
        assert request.headers["accept-encoding"] == "gzip, deflate"


def test_the_environment_is_not_used(
    server: Server, fetching: Fetching, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fetching().fetch(f"{server.url}/page")
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: Server, fetching: Fetching, status: int) -> None:
    url = answered(server, redirects("page", status))
    page = fetching().fetch(url)
    assert (page.url, page.document.uri) == (url, f"{server.url}/page")


def test_redirects_beyond_ascii_are_utf_8(server: Server, fetching: Fetching) -> None:
    server.answers["/caf%C3%A9"] = says(TEXT)
    url = answered(server, redirects("/café".encode().decode("latin-1")))
    assert fetching().fetch(url).document.uri == f"{server.url}/caf%C3%A9"


def test_a_chain_of_five_is_followed_and_of_six_not(server: Server, fetching: Fetching) -> None:
    for number in range(6):
        server.answers[f"/{number}"] = redirects(f"/{number + 1}" if number < 5 else "/page")
    fetcher = fetching()
    assert fetcher.fetch(f"{server.url}/1").document.text == TEXT
    error = refused(fetcher, f"{server.url}/0")
    assert error.cause == "redirects"
    assert "more than 5 times" in error.reason


@pytest.mark.parametrize(
    ("target", "cause", "reason"),
    [
        ("/", "redirects", "in a circle"),
        ("/#part", "redirects", "in a circle"),
        ("", "redirects", "without saying where"),
        ("ftp://127.0.0.1/", "url", "only http"),
        ("http://user:secret@127.0.0.1/", "url", "user or password"),
        ("http://[", "url", "no "),
        ("javascript:alert(1)", "url", "only http"),
    ],
)
def test_redirects_that_lead_nowhere(
    server: Server, fetching: Fetching, target: str, cause: str, reason: str
) -> None:
    error = refused(fetching(), answered(server, redirects(target)))
    assert error.cause == cause
    assert reason in error.reason
    assert "secret" not in str(error)


def test_a_longer_circle_is_seen(server: Server, fetching: Fetching) -> None:
    server.answers["/other"] = redirects("/")
    error = refused(fetching(), answered(server, redirects("/other")))
    assert (error.cause, len(server.requests)) == ("redirects", 2)
    assert f"it redirects to {server.url}/other: it redirects in a circle" in error.reason


@pytest.mark.parametrize(
    "behaviour",
    [
        says("caf\xe9 au lait".encode("latin-1"), kind="text/plain; charset=iso-8859-1"),
        says("caf\xe9 au lait", kind="text/plain; charset=utf-8"),
    ],
)
def test_the_charset_is_passed_on(server: Server, fetching: Fetching, behaviour: Behaviour) -> None:
    assert fetching().fetch(answered(server, behaviour)).document.text == "café au lait"


def test_a_wrong_charset_is_no_crash(server: Server, fetching: Fetching) -> None:
    url = answered(server, says("caf\xe9 au lait", kind="text/plain; charset=no-such-charset"))
    assert "au lait" in fetching().fetch(url).document.text


def test_images_are_not_read(server: Server, fetching: Fetching) -> None:
    error = refused(fetching(), answered(server, says(b"\x89PNG\r\n\x1a\n", kind="image/png")))
    assert error.cause == "content_type"


def test_pages_are_fetched_while_others_are_read(
    server: Server, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_came = threading.Event()
    readers: set[str] = set()

    def read(data: bytes, *, url: str, **_: str) -> tuple[Document, tuple[()]]:
        readers.add(threading.current_thread().name)
        assert all_came.wait(10)
        return Document(url, data.decode()), ()

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(TEXT)(request, writer)
        if len(server.requests) == 3:
            all_came.set()

    monkeypatch.setattr(fetcher_module, "read_page", read)
    server.answers["*"] = behave
    assert len(fetching().fetch_many([f"{server.url}/{number}" for number in range(3)])) == 3
    assert len(readers) == 1


def test_a_reader_that_crashes_harms_no_other_page(
    server: Server, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(data: bytes, *, url: str, **_: str) -> tuple[Document, tuple[()]]:
        if url.endswith("/bad"):
            raise ZeroDivisionError
        return Document(url, data.decode()), ()

    monkeypatch.setattr(fetcher_module, "read_page", read)
    server.answers["/bad"] = says(TEXT)
    with pytest.raises(BatchError) as caught:
        fetching().fetch_many([f"{server.url}/bad", f"{server.url}/page"])
    first, second = caught.value.results
    assert isinstance(first, ZeroDivisionError)
    assert second.document.text == TEXT
    with pytest.raises(ZeroDivisionError):
        fetching().fetch(f"{server.url}/bad")


def test_closing_ends_what_is_in_flight(server: Server, fetching: Fetching) -> None:
    asked = threading.Event()

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await silent(request, writer)

    url = answered(server, behave)
    fetcher = fetching()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(fetcher.fetch, url)
        assert asked.wait(10)
        fetcher.close()
        with pytest.raises(InputError, match="closed"):
            waiting.result(10)
    with pytest.raises(InputError, match="closed"):
        fetcher.fetch(url)
    fetcher.close()


def test_one_that_is_forgotten_closes_itself(server: Server) -> None:
    fetcher = WebFetcher(allow=LOOPBACK)
    fetcher.fetch(f"{server.url}/page")
    thread, reference = fetcher._loop._thread, weakref.ref(fetcher)
    del fetcher
    gc.collect()
    assert reference() is None
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"concurrency": 0}, {"per_host": 0}, {"max_bytes": 0}, {"user_agent": ""},
     {"user_agent": "a\r\nb"}, {"allow": ["10.0.0.1/8"]}],
)  # fmt: skip
def test_options_that_cannot_be_used(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        WebFetcher(**options)


def test_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "protego", None)
    with pytest.raises(MissingExtra, match=r"ragmeter\[web\]"):
        WebFetcher()

import gzip
import socket
import threading
import tracemalloc
import zlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.web.connections import decoded
from rag.web.failures import Failure
from tests.web.fetching import TEXT, Fetching, answered, refused
from tests.web.servers import (
    Behaviour,
    Server,
    endless,
    head,
    in_turn,
    raw,
    redirects,
    resets,
    says,
    silent,
    slow,
    zipped,
)


@pytest.fixture
def fetching(fetching: Fetching) -> Fetching:
    return partial(fetching, respect_robots=False)


@pytest.mark.parametrize("behaviour", [silent, endless(b"x", 0.05), slow(30, says(TEXT))])
def test_a_page_that_does_not_come_in_time(
    server: Server, fetching: Fetching, behaviour: Behaviour
) -> None:
    error = refused(fetching(timeout=0.3), answered(server, behaviour))
    assert error.cause == "timeout"
    assert "within 0.3 s" in error.reason


def test_the_time_is_for_all_redirects_together(server: Server, fetching: Fetching) -> None:
    for number in range(5):
        server.answers[f"/{number}"] = slow(0.2, redirects(f"/{number + 1}"))
    assert refused(fetching(timeout=0.5), f"{server.url}/0").cause == "timeout"
    assert len(server.requests) < 5


def test_looking_up_a_host_counts(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    found = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found.wait(10) and [])
    error = refused(fetching(timeout=0.3), "http://example.org/")
    assert error.cause == "timeout"
    found.set()


@pytest.mark.parametrize(
    "behaviour",
    [
        says("x" * 10_001),
        endless(b"x" * 4096),
        zipped(b"x" * 10_001),
        zipped(b"x" * 10_001, "deflate"),
        zipped(bytes(50_000_000)),
        raw(head(200, {"Content-Length": "99999999999"}) + b"x"),
        endless(gzip.compress(b"")),
    ],
)
def test_a_page_that_is_too_large(server: Server, fetching: Fetching, behaviour: Behaviour) -> None:
    error = refused(fetching(max_bytes=10_000), answered(server, behaviour))
    assert error.cause == "too_large"
    assert "10,000 bytes; raise `max_bytes`" in error.reason


def test_a_page_of_just_the_size_is_read(server: Server, fetching: Fetching) -> None:
    for behaviour in (says("x" * 10_000), zipped(b"x" * 10_000), zipped(b"x" * 10_000, "deflate")):
        assert fetching(max_bytes=10_000).fetch(answered(server, behaviour)).bytes == 10_000


def test_bombs_take_no_more_memory_than_their_limit() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(Failure, match="more than 1,000,000 bytes"):
        decoded(bomb, "gzip", 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare deflate"])
def test_compressed_pages(server: Server, fetching: Fetching, coding: str) -> None:
    page = fetching().fetch(answered(server, zipped(TEXT.encode(), coding)))
    assert (page.document.text, page.bytes) == (TEXT, len(TEXT.encode()))


@given(st.binary(), st.integers(1, 4))
def test_what_was_compressed_is_decoded(data: bytes, parts: int) -> None:
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    limit = max(1, len(data) * parts)
    assert decoded(gzip.compress(data) * parts + b"\0\0", "GZIP", limit) == data * parts
    assert decoded(zlib.compress(data), "deflate", limit) == data
    assert decoded(bare.compress(data) + bare.flush(), "deflate", limit) == data
    assert decoded(data, "", limit) == decoded(data, "identity", limit) == data


@given(st.binary(min_size=1), st.sampled_from(["gzip", "deflate", "br", "gzip, gzip"]))
def test_what_was_not_is_refused_or_bounded(data: bytes, coding: str) -> None:
    try:
        assert len(decoded(data, coding, 100)) <= 100
    except Failure as failure:
        assert failure.cause in ("unreadable", "too_large")  # noqa: PT017


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (says(gzip.compress(TEXT.encode())[:-9], content_encoding="gzip"), "break off"),
        (says(TEXT, content_encoding="gzip"), "damaged"),
        (says(gzip.compress(b"") * 99, content_encoding="gzip"), "more than 16 parts"),
        (says(TEXT, content_encoding="br"), "encoded as 'br'"),
        (says("", status=204), "empty"),
        (says(""), "empty"),
    ],
)
def test_bodies_that_cannot_be_read(
    server: Server, fetching: Fetching, behaviour: Behaviour, reason: str
) -> None:
    error = refused(fetching(), answered(server, behaviour))
    assert error.cause == "unreadable"
    assert reason in error.reason


CHUNKED = head(200, {"Content-Type": "text/plain", "Transfer-Encoding": "chunked"})


@pytest.mark.parametrize(
    "behaviour",
    [
        resets,
        raw(b""),
        raw(b"HTTP/1.1 200"),
        raw(b"220 mail.example.org ESMTP\r\n\r\n"),
        raw(head(200, {"Content-Length": "100"}) + b"x"),
        raw(CHUNKED + b"5\r\nhe"),
        raw(CHUNKED + b"zz\r\nhello\r\n"),
        raw(head(200, {"X-Long": "x" * 300_000, "Content-Length": "0"})),
        raw(head(200, {f"X-{number}": "x" * 1000 for number in range(300)})),
    ],
)
def test_servers_that_break_off(server: Server, fetching: Fetching, behaviour: Behaviour) -> None:
    error = refused(fetching(), answered(server, behaviour))
    assert error.cause == "unreachable"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("behaviour", "pieces"),
    [
        (says("", 404), ["answered 404 Not Found"]),
        (says("", 403), ["answered 403 Forbidden"]),
        (says("", 500), ["answered 500"]),
        (says("", 304), ["answered 304"]),
        (says("", 300), ["answered 300"]),
        (says("", 799), ["answered 799"]),
        (says("", 429, retry_after="3600"), ["answered 429", "asks to wait 3600 s"]),
        (says("", 503, retry_after="999"), ["answered 503", "asks to wait 999 s"]),
    ],
)
def test_answers_that_are_no_pages(
    server: Server, fetching: Fetching, behaviour: Behaviour, pieces: list[str]
) -> None:
    error = refused(fetching(), answered(server, behaviour))
    assert error.cause == "status"
    assert error.status == int(pieces[0].split()[1])
    assert all(piece in error.reason for piece in pieces)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "first",
    [
        resets,
        raw(CHUNKED + b"5\r\nhe"),
        says("", 503),
        says("", 502),
        says("", 429, retry_after="1"),
    ],
)
def test_what_may_pass_is_asked_for_once_more(
    server: Server, fetching: Fetching, first: Behaviour
) -> None:
    page = fetching().fetch(answered(server, in_turn(first, says(TEXT))))
    assert (page.document.text, page.retries) == (TEXT, 1)


def test_but_only_once(server: Server, fetching: Fetching) -> None:
    error = refused(fetching(), answered(server, says("", 504)))
    assert (error.cause, error.status, len(server.requests)) == ("status", 504, 2)

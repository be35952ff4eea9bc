import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rag.service import middleware, serving
from tests.service.running import RunningService

NEW = {"name": "notes"}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a name of its own, which pages of another origin may use."""
    server = {"hosts": ["rag.example.com"], "origins": ["https://wiki.example.com"]}
    with RunningService(tmp_path_factory.mktemp("known"), server=server) as service:
        yield service


def test_every_reply_names_its_request(running: RunningService) -> None:
    given = running.client.get("/health", headers={"X-Request-ID": "a.b-C_1"})
    assert given.headers["x-request-id"] == "a.b-C_1"
    for bad in ("a b", "x" * 65, "a\u00e9", '"'):
        made = running.client.get("/nowhere", headers={"X-Request-ID": bad.encode()})
        assert made.headers["x-request-id"] not in ("", bad)
        assert made.json()["error"]["request_id"] == made.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/health", "/v1/collections", "/nowhere", "/v1/collections/none"])
def test_every_reply_has_the_security_headers(running: RunningService, path: str) -> None:
    headers = running.client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("192.168.1.5", 200),
        ("rag.example.com", 200),
        ("RAG.example.com:443", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("rag.example.com.evil.example", 421),
        ("localhost@evil.example", 421),
        ("[::1].evil.example", 421),
        ("", 421),
    ],
)
def test_requests_under_other_names_are_refused(
    known: RunningService, host: str, status: int
) -> None:
    assert known.client.get("/health", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "{own}"}, 201),
        ({"Origin": "https://wiki.example.com"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://wiki.example.com.evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_origins_change_nothing(
    known: RunningService, headers: dict[str, str], status: int
) -> None:
    sent = {name: value.format(own=known.url) for name, value in headers.items()}
    reply = known.client.post("/v1/collections", json=NEW, headers=sent)
    assert reply.status_code == status
    assert ("notes" in known.service.library) == (status == 201)
    known.client.delete("/v1/collections/notes")


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://wiki.example.com", True), ("https://evil.example", False)]
)
def test_only_named_origins_may_read(known: RunningService, origin: str, allowed: bool) -> None:
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    preflight = known.client.options("/v1/answer", headers=asks)
    reply = known.client.get("/v1/collections", headers={"Origin": origin})
    for each in (preflight, reply):
        said = each.headers.get("access-control-allow-origin")
        assert said == (origin if allowed else None)


def test_a_body_that_does_not_arrive_ends_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "_BODY_SECONDS", 0.1)
    with RunningService(tmp_path) as running, connected(running) as client:
        client.sendall(
            b"POST /v1/collections HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            b"Content-Type: application/json\r\n\r\n{"
        )
        reply = received(client)
        assert reply.startswith(b"HTTP/1.1 408")
        assert b'"code":"timeout"' in reply
        assert running.client.get("/health").status_code == 200


def test_headers_that_do_not_arrive_end_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_HEAD_SECONDS", 0.2)
    with RunningService(tmp_path) as running:
        with connected(running) as silent, connected(running) as slow:
            began = time.monotonic()
            slow.sendall(b"GET /health HT")
            assert received(silent) == b""
            assert received(slow) == b""
            assert time.monotonic() - began >= 0.2
        assert running.client.get("/health").status_code == 200


def test_headers_without_end_are_refused(running: RunningService) -> None:
    with connected(running) as client:
        try:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
            for _ in range(40):
                client.sendall(b"x" * 16_384)
            reply = received(client)
        except (ConnectionResetError, BrokenPipeError):
            reply = b""
        assert reply == b"" or reply.startswith(b"HTTP/1.1 400")


def connected(running: RunningService) -> socket.socket:
    url = urlsplit(running.url)
    return socket.create_connection((url.hostname, url.port), timeout=10)


def received(client: socket.socket) -> bytes:
    """Return all that comes until the other side closes the connection."""
    parts = []
    while part := client.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def test_a_body_of_two_lengths_is_refused(running: RunningService) -> None:
    with connected(running) as client:
        client.sendall(
            b"POST /v1/collections HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        reply = received(client)
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"ambiguous_length" in reply
    assert reply.count(b"HTTP/1.1 ") == 1

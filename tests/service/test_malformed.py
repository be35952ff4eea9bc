"""Requests that no client should send: none may break the service, or learn of its inside."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.service.running import RunningService

Send = Callable[[Random], bytes]
"""Makes the bytes of a request."""

_PATHS = (
    "/v1/collections",
    "/v1/collections/handbook",
    "/v1/collections/handbook/search",
    "/v1/collections/handbook/documents",
    "/v1/collections/handbook/document?id=a.md",
    "/v1/answer",
    "/v1/plan?tokens=100&collection=handbook",
    "/v1/service",
    "/v1/feedback",
    "/v1/jobs",
    "/v1/jobs/none",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/handbook",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/",
)
_BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/collections", {"name": "handbook"}),
    ("/v1/collections/handbook/search", {"query": "WAL", "top_k": 5, "where": {"year": 1}}),
    (
        "/v1/answer",
        {"question": "What is WAL?", "collection": "handbook", "budget": {"tokens": 9}, "top_k": 2},
    ),
    ("/v1/feedback", {"answer_id": "a", "rating": "up", "comment": "good"}),
    (
        "/v1/chat/completions",
        {"model": "handbook", "messages": [{"role": "user", "content": "What is WAL?"}], "n": 1},
    ),
)
_STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        [],
        {},
        "",
        " ",
        "\0",
        "\ud800",
        "a\0b",
        "\u202e",
        "x" * 30_000,
        "../../etc/passwd",
    ),
    *(-1, 0, 2**63, 2**64, -(2**70), 10**400, 1e308, -0.0, 0.5, float("nan"), float("inf")),
    *([[[]]], {"": ""}, {"$gt": 1}, {"year": {"gte": {}}}, {"year": {"in": [[]]}}, ["\udfff"]),
    *({"and": [{"or": []}]}, {"\0": 1}, {"__proto__": {"x": 1}}, {"year": {"gte": "\ud83d"}}),
)
_TEXTS = (
    *(b"", b"{", b"nul", b'"', b"[", b"{}", b"[]", b"null", b"0", b"NaN", b"\xef\xbb\xbf{}"),
    *(b"\xff\xfe", b'{"query": "\xff"}', b'{"query": "\xc0\xaf"}', b'{"query": "\xed\xa0\x80"}'),
    *(b'{"query": "\\ud800"}', b'{"query": "\\u0000"}', b'{"query": "a", "query": 3}', b"{}{}"),
    *(b'{"query": "a", "top_k": ' + b"9" * 5000 + b"}", b'{"query": "a", "top_k": 1e999}'),
    *(b"[" * 20_000, b'{"where":' * 9_000 + b"1" + b"}" * 9_000, b"-", b"1" * 5_000, b"\0" * 99),
    *(b'{"query": "a", "where": ' + b'{"not": ' * 2_000 + b"1" + b"}" * 2_001, b"query=a&top_k=1"),
)
_TYPES = (
    *("application/json", "text/plain", "application/x-www-form-urlencoded", "", "/", "\x7f"),
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=b"),
    *("application/json; charset=utf-16", "application/xml", "image/png", "a" * 3_000),
    "multipart/form-data; boundary=" + "b" * 300,
)
_NAMES = (
    *(
        "..",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "%00",
        "%",
        "%zz",
        "%ff%fe",
        "handbook%2f..%2fhandbook",
    ),
    *(
        "handbook%00",
        "handbook/",
        "/handbook",
        "a" * 5_000,
        "*",
        "%F0%9F%98%80",
        "a;b=c",
    ),
    *("..%5c..%5cwindows", "handbook%0d%0aX-Injected:%201", "-", "%u0041", "handbook?name=%ff"),
)
_FILES = (
    *(b'filename="a.md"', b'filename="../../../x.md"', b'filename="a\0.md"', b'filename=""', b""),
    *(b"filename*=utf-8''%ff.md", b'filename="\xff\xfe.md"', b'filename="a.zip"', b"filename"),
    *(b'filename="a.pdf"', b'filename="a.docx"', b'filename="C:\\x\\.."', b'filename="a.html"'),
    b'filename="' + b"a" * 6_000 + b'.md"',
)
_CONTENTS = (b"text", b"", b"PK\3\4", b"%PDF-1.7", b"\0", b"\xff\xfe\0", b"<html>", b"\x1f\x8b")
_NOT_PARTS = (
    b"--b",
    b"--b--\r\n",
    b"no boundary at all",
    b"--b\r\n\r\nt\r\n--b--\r\n",
    b"--b\r\nX: ",
)


def _request(
    method: str, path: str, body: bytes = b"", *headers: str, length: object = None
) -> bytes:
    length = len(body) if length is None else length
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *headers)
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1") + body


def _json(path: str, body: bytes) -> bytes:
    return _request("POST", path, body, "Content-Type: application/json")


def _strange_value(random: Random) -> bytes:
    """A body in which something is not what it should be."""
    path, whole = random.choice(_BODIES)
    body = json.loads(json.dumps(whole))
    place, key = body, random.choice(list(body))
    while isinstance(place[key], dict | list) and random.random() < 0.7:
        place = place[key]
        key = random.choice(list(place) if isinstance(place, dict) else range(len(place)))
    match random.random():
        case chance if chance < 0.7:
            place[key] = random.choice(_STRANGE)
        case chance if chance < 0.8:
            del place[key]
        case _ if isinstance(place, dict):
            place[random.choice(("\0", "unknown", "\ud800", "constructor"))] = random.choice(
                _STRANGE
            )
    return _json(path, json.dumps(body).encode())


def _broken_json(random: Random) -> bytes:
    """A body that is no JSON, or JSON that no model has."""
    path, whole = random.choice(_BODIES)
    text = json.dumps(whole).encode()
    cut = random.randrange(len(text))
    damaged = (
        text[:cut] + random.choice((b"", b"\0", b"\xff", b",", b"}", b"\\u12")) + text[cut + 1 :]
    )
    return _json(path, random.choice((*_TEXTS, text[:cut], damaged, damaged)))


def _wrong_type(random: Random) -> bytes:
    """A body under a media type that it does not have."""
    path, whole = random.choice(_BODIES)
    content_type = f"Content-Type: {random.choice(_TYPES)}"
    return _request("POST", path, json.dumps(whole).encode(), content_type)


def _multipart(random: Random) -> bytes:
    """A form that is broken, or holds what may not be uploaded."""
    name = random.choice((b"files", b"files", b"other", b"", b"\xff"))
    head = b'--b\r\nContent-Disposition: form-data; name="%b"; ' % name + random.choice(_FILES)
    part = head + b"\r\n\r\n" + random.choice(_CONTENTS) + b"\r\n--b--\r\n"
    body = random.choice((part, part, part, random.choice(_NOT_PARTS)))
    if random.random() < 0.5:
        cut = random.randrange(len(body))
        strange = bytes(random.choices(range(256), k=random.randrange(4)))
        body = body[:cut] + strange + body[cut + 1 :]
    content_type = random.choice(("multipart/form-data; boundary=b", random.choice(_TYPES)))
    path = "/v1/collections/handbook/documents"
    return _request("POST", path, body, f"Content-Type: {content_type}")


def _path(random: Random) -> bytes:
    """A path or a query that is none."""
    name = random.choice(_NAMES)
    value = random.choice(("", "-1", "1e9", "9" * 5_000, "NaN", "%00", "%ff", "a&limit=b", "[]"))
    target = random.choice(
        (
            *(f"/v1/collections/{name}", f"/v1/collections/{name}/search", f"/static/{name}"),
            *(f"/v1/models/{name}", f"/v1/jobs/{name}", f"/{name}", f"/v1/../{name}", f"//{name}"),
            f"/v1/collections/handbook/document?id={name}",
            f"/v1/collections/handbook/documents?limit={value}&after={value}",
            f"/v1/plan?tokens={value}&collection={name}&top_k={value}",
            f"/v1/jobs?state={value}&collection={name}",
            f"/v1/feedback?limit={value}",
        )
    )
    return _request(random.choice(("GET", "DELETE", "POST", "HEAD")), target)


def _method(random: Random) -> bytes:
    """A method that a path does not have, or nobody has."""
    methods = (
        "PUT",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "HEAD",
        "CONNECT",
        "get",
        "PROPFIND",
        "A" * 99,
    )
    return _request(random.choice(methods), random.choice(_PATHS))


def _headers(random: Random) -> bytes:
    """Headers that are too large, twice there, or of no form."""
    extra = random.choice(
        (
            *(f"X-Long: {'a' * random.randrange(70_000)}", "No colon", ": no name", "X-Bad: \x01"),
            *(
                "Authorization: Bearer",
                "Authorization: Basic \xff",
                "Authorization: " + "x" * 9_000,
            ),
            *("Content-Length: 5", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
            *(
                "Host: evil.example",
                "X-Request-ID: \xff",
                "Origin: null",
                "Origin: http://evil.example",
            ),
            *("Range: bytes=0-1", "Expect: 100-continue", "Upgrade: websocket", "Cookie: a=\xff"),
            *("traceparent: 00-zz", "Content-Encoding: gzip", "Accept: \xff", " folded: 1"),
            "\r\n".join(f"X-{number}: 1" for number in range(random.randrange(500))),
        )
    )
    path, whole = random.choice(_BODIES)
    return _request("POST", path, json.dumps(whole).encode(), extra)


def _framing(random: Random) -> bytes:
    """A request whose body does not end where it says, or that is no HTTP."""
    path, whole = random.choice(_BODIES)
    body = json.dumps(whole).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n".encode()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    return random.choice(
        (
            _request("POST", path, body, length=len(body) + random.randrange(1, 99)),
            _request(
                "POST", path, body, length=random.choice((-1, "+5", "0x5", "9" * 30, "", "5, 6"))
            ),
            chunked + b"zz\r\n" + body,
            chunked + b"5\r\n" + body[:3],
            chunked + b"ffffffffffffffffff\r\n" + body,
            chunked + b"%x\r\n" % len(body) + body + b"\r\n0\r\nX: \x01\r\n\r\n",
            chunked + b"-5\r\n" + body + b"\r\n0\r\n\r\n",
            head
            + b"Content-Length: 4\r\n"
            + chunked[len(head) :]
            + b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            head[: random.randrange(len(head))],
            f"POST {path} HTTP/9.9\r\n\r\n".encode(),
            f"GET {path}\r\n\r\n".encode(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            bytes(random.choices(range(256), k=200)) + b"\r\n\r\n",
        )
    )


_KINDS: tuple[Send, ...] = (
    *(_strange_value, _broken_json, _wrong_type, _multipart, _path, _method, _headers, _framing),
)


def _reply(address: tuple[str, int], request: bytes, *, whole: bool) -> bytes:
    """Send some bytes and return all that comes back; what is not whole is soon broken off."""
    reply = b""
    with socket.create_connection(address, timeout=20 if whole else 0.1) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(1 << 16):
                reply += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # refused before it was all sent
        except TimeoutError:
            assert not whole, request[:2000]
    return reply


def _break(folder: Path, count: int, seed: int) -> None:
    """Send malformed requests, and see that the service is none the worse for any."""
    with RunningService(folder / "data") as running:
        client = running.client
        client.post("/v1/collections", json={"name": "handbook"}).raise_for_status()
        host, port = running.url.removeprefix("http://").split(":")
        random = Random(seed)
        answered = 0
        for number in range(count):
            kind = _KINDS[number % len(_KINDS)]
            request = kind(random)
            whole = kind not in (_framing, _headers)
            reply = _reply((host, int(port)), request, whole=whole)
            status = reply.split(b" ", 2)[1:2]
            assert not status or status[0] < b"500", (request[:2000], reply[:2000])
            for word in (b"Traceback", b"site-packages", str(folder).encode(), b'File "'):
                assert word not in reply, (request[:2000], reply[:2000])
            answered += bool(status)
        assert answered > 0.8 * count
        names = [each["name"] for each in client.get("/v1/collections").json()]
        assert "handbook" in names
        assert client.get("/ready").status_code == 200


def test_malformed_requests_are_refused(tmp_path: Path) -> None:
    _break(tmp_path, 300, seed=0)


@pytest.mark.slow
def test_thousands_of_malformed_requests_are_refused(tmp_path: Path) -> None:
    _break(tmp_path, 2_000, seed=1)

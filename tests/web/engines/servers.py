"""Loopback servers that speak the interfaces of search engines, and misbehave when told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from rag.core.web import WebResult

KEY = "sk-very-secret-0123456789"


@dataclass(frozen=True)
class Request:
    """What a server was asked: the fields are a URL's parameters or a body's JSON."""

    method: str
    path: str
    headers: Mapping[str, str]
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What a server answers; `late` seconds later, and with another length than it has."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    late: float = 0.0
    length: int | None = None


Api = Callable[[Request, Sequence[WebResult]], Any]
"""What an engine answers to a request, given its index."""


def said(data: object, status: int = 200, **options: Any) -> Reply:
    """Answer with JSON."""
    return Reply(status, json.dumps(data).encode(), **options)


def page(text: str, status: int = 200, **options: Any) -> Reply:
    """Answer with a web page."""
    return Reply(status, text.encode(), "text/html; charset=utf-8", **options)


class EngineServer:
    """Answers requests by its script, then as an engine with an index of pages.

    Attributes:
        script: The next answers.
        requests: What it was asked.
        most: Requests that were answered at once, at most.
    """

    def __init__(self, api: Api, pages: Sequence[WebResult] = (), *, late: float = 0.0) -> None:
        self.script: list[Reply] = []
        self.requests: list[Request] = []
        self.most = 0
        self._open = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._api, self._pages, self._late = api, pages, late
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                self._serve(url.path, dict(parse_qsl(url.query)))

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                self._serve(self.path, json.loads(content))

            def _serve(self, path: str, fields: Mapping[str, Any]) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = server.reply(Request(self.command, path, headers, fields))
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                length = len(reply.body) if reply.length is None else reply.length
                self.send_header("Content-Length", str(length))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
                self.close_connection = length != len(reply.body)

            def log_message(self, *args: object) -> None: ...

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:  # the client has hung up
                    self.close_connection = True

        return Handler

    def reply(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            reply = self.script.pop(0) if self.script else None
            self._open += 1
            self.most = max(self.most, self._open)
        reply = reply or said(self._api(request, self._pages), late=self._late)
        self._stop.wait(reply.late)
        with self._lock:
            self._open -= 1
        return reply


def matching(pages: Sequence[WebResult], query: str, start: int, size: int) -> list[WebResult]:
    """Return a slice of the pages whose titles have every word of a query."""
    words = query.lower().split()
    found = [each for each in pages if set(words) <= set(each.title.lower().split())]
    return found[start : start + size]


def searxng(request: Request, pages: Sequence[WebResult]) -> Any:
    assert (request.method, request.path) == ("GET", "/search")
    assert request.fields["format"] == "json"
    start = (int(request.fields["pageno"]) - 1) * 12
    results = [
        {"url": each.url, "title": each.title, "content": each.snippet, "publishedDate": None}
        for each in matching(pages, request.fields["q"], start, 12)
    ]
    return {"query": request.fields["q"], "results": results, "unresponsive_engines": []}


def brave(request: Request, pages: Sequence[WebResult]) -> Any:
    assert (request.method, request.path) == ("GET", "/web/search")
    assert request.headers["x-subscription-token"] == KEY
    size = int(request.fields["count"])
    assert size <= 20
    found = matching(pages, request.fields["q"], int(request.fields["offset"]) * size, size)
    results = [
        {"url": each.url, "title": each.title, "description": f"<strong>{each.snippet}</strong>"}
        for each in found
    ]
    answer = {"type": "search", "query": {"original": request.fields["q"]}}
    return {**answer, "web": {"type": "search", "results": results}} if results else answer


def tavily(request: Request, pages: Sequence[WebResult]) -> Any:
    assert (request.method, request.path) == ("POST", "/search")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    found = matching(pages, request.fields["query"], 0, request.fields["max_results"])
    results = [
        {"url": each.url, "title": each.title, "content": each.snippet, "score": 0.5}
        for each in found
    ]
    return {"query": request.fields["query"], "results": results, "response_time": 0.1}


def serper(request: Request, pages: Sequence[WebResult]) -> Any:
    assert (request.method, request.path) == ("POST", "/search")
    assert request.headers["x-api-key"] == KEY
    start = (request.fields["page"] - 1) * 10
    organic = [
        {"title": each.title, "link": each.url, "snippet": each.snippet, "position": position}
        for position, each in enumerate(matching(pages, request.fields["q"], start, 10), 1)
    ]
    return {"searchParameters": {"q": request.fields["q"]}, "organic": organic}


def google(request: Request, pages: Sequence[WebResult]) -> Any:
    assert (request.method, request.path) == ("GET", "/customsearch/v1")
    assert request.headers["x-goog-api-key"] == KEY
    assert request.fields["cx"] == "engine-id"
    start, size = int(request.fields["start"]) - 1, int(request.fields["num"])
    assert size <= 10
    items = [
        {"title": each.title, "link": each.url, "snippet": each.snippet}
        for each in matching(pages, request.fields["q"], start, size)
    ]
    answer = {"kind": "customsearch#search", "searchInformation": {"totalResults": "9"}}
    return {**answer, "items": items} if items else answer


APIS: dict[str, Api] = {
    "searxng": searxng,
    "brave": brave,
    "tavily": tavily,
    "serper": serper,
    "google": google,
}


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()

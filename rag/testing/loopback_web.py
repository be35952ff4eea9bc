"""A web and a search engine on this machine: real HTTP servers for tests and benchmarks.

Loopback has no host names, but every address of 127.0.0.0/8 is a host, so that a web may have
several domains. A fetcher that guards private addresses has to be told that these are allowed.
"""

from __future__ import annotations

import json
import mimetypes
import random
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from rag.core.documents import Document
from rag.core.extras import require
from rag.testing.loopback_search import BM25

_DAYS = {"day": 1, "week": 7, "month": 31, "year": 366}
_PAGE_SIZE = 10


@dataclass(frozen=True, slots=True)
class Request:
    """What a server was asked.

    Args:
        path: Path and query, as they were sent.
        headers: Headers; names in lower case.
    """

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServedPage:
    """What a server answers.

    Args:
        body: The body; text is sent as UTF-8.
        content_type: Its media type; '' goes by the ending of the path, HTML where that has none.
        status: The HTTP status.
        headers: Further headers. A request that knows the page's `ETag` gets a 304.
    """

    body: bytes | str = b""
    content_type: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class LoopbackServer(ABC):
    """A server on a loopback address; it runs while its context is entered.

    Args:
        host: The address.

    Attributes:
        requests: Every request so far, in the order of arrival.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.requests: list[Request] = []

    @abstractmethod
    def answer(self, request: Request) -> ServedPage:
        """Return the answer to a request."""

    def url(self, path: str = "") -> str:
        """Return the URL of a path, which may have a query; '' for the server's own."""
        return f"http://{self.host}:{self._port}{path}"

    def __enter__(self) -> Self:
        """Begin to serve, on a port that is free."""
        uvicorn = require("uvicorn", extra="service", needed_for="A loopback server")
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        # It listens from here on: whoever asks before the thread is up waits in the queue.
        self._listener = socket.create_server((self.host, 0), backlog=1024)
        self._port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="loopback-server", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.001)  # told to end while it starts, it would leave its sockets open
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    async def _app(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        query = scope["query_string"].decode()
        path = scope["raw_path"].decode() + (f"?{query}" if query else "")
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(path, headers)
        self.requests.append(request)
        page = self.answer(request)
        tag = page.headers.get("ETag")
        if tag is not None and tag == headers.get("if-none-match"):
            page = ServedPage(status=304, headers=page.headers)
        body = page.body.encode() if isinstance(page.body, str) else page.body
        fields = {"Content-Type": page.content_type or _content_type(scope["path"]), **page.headers}
        if page.status != 304:
            fields["Content-Length"] = str(len(body))
        encoded = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": page.status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})


class LoopbackWeb(LoopbackServer):
    """Serves pages by their paths.

    For example::

        with LoopbackWeb({"/": "<p>Herons wait.</p>", "/robots.txt": "User-agent: *"}) as web:
            page = fetcher.fetch(web.url("/"))

    Args:
        pages: What is served; a key is a path, such as '/herons.html', or a path with a query. The
            mapping is looked at on every request, so pages may be added and changed.
        host: The address.

    Attributes:
        requests: Every request so far, in the order of arrival.
    """

    def __init__(
        self, pages: Mapping[str, bytes | str | ServedPage], *, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(host)
        self.pages = pages

    @classmethod
    def of_folder(cls, path: Path, *, host: str = "127.0.0.1") -> LoopbackWeb:
        """Serve the files of a folder, each read when it is asked for."""
        return cls(_Folder(path), host=host)

    def answer(self, request: Request) -> ServedPage:
        """Return the page of a path, or a 404."""
        path = unquote(request.path)
        for key in (path, path.partition("?")[0]):
            if key in self.pages:
                page = self.pages[key]
                return page if isinstance(page, ServedPage) else ServedPage(page)
        return ServedPage("not found", "text/plain", 404)


class LoopbackSearXNG(LoopbackServer):
    """Searches documents and answers as a SearXNG does that has its JSON format switched on.

    Documents are ranked by BM25; a snippet is the 25 words of a text that hold most of the query.
    Results come ten to a page, of the engine 'loopback'.

    Args:
        documents: What is searched. A result's URL is the document's `uri`, or its `id` where it
            has none; its date is the `date` of the metadata, 'YYYY-MM-DD'.
        order: How the results of a page are ordered: best first, or at random, in an order that
            depends on the query and the seed. What is on a page is the same.
        seed: Chooses the random orders.
        unresponsive: Names of engines behind this one that do not answer, each with the reason.
        host: The address.

    Attributes:
        requests: Every request so far, in the order of arrival.
        queries: Every query so far, in the order of arrival.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        *,
        order: Literal["relevance", "shuffled"] = "relevance",
        seed: int = 0,
        unresponsive: Sequence[tuple[str, str]] = (),
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(host)
        self.queries: list[str] = []
        self._documents = documents
        self._bm25 = BM25([f"{each.title} {each.text}" for each in documents])
        self._order = order
        self._seed = seed
        self._unresponsive = unresponsive

    def answer(self, request: Request) -> ServedPage:
        """Return the results of a query as JSON."""
        url = urlsplit(request.path)
        asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
        if url.path not in ("/", "/search"):
            return ServedPage("not found", "text/plain", 404)
        if asked.get("format") != "json":
            return ServedPage("only format=json is served", "text/plain", 403)
        if not asked.get("q"):
            return ServedPage("no query", "text/plain", 400)
        self.queries.append(asked["q"])
        found = self._found(asked["q"], asked.get("time_range", ""))
        start = _PAGE_SIZE * (int(asked.get("pageno", "1")) - 1)
        shown = found[start : start + _PAGE_SIZE]
        if self._order == "shuffled":
            random.Random(f"{self._seed} {start} {asked['q']}").shuffle(shown)  # noqa: S311
        reply = {
            "query": asked["q"],
            "number_of_results": len(found),
            "results": [
                self._result(asked["q"], document, position)
                for position, document in enumerate(shown, start=1)
            ],
            "answers": [],
            "corrections": [],
            "infoboxes": [],
            "suggestions": [],
            "unresponsive_engines": self._unresponsive,
        }
        return ServedPage(json.dumps(reply), "application/json")

    def _found(self, query: str, time_range: str) -> list[Document]:
        found = [self._documents[number] for number in self._bm25.rank(query)]
        days = _DAYS.get(time_range)
        if days is None:
            return found
        oldest = str((datetime.now(UTC) - timedelta(days=days)).date())
        return [each for each in found if str(each.metadata.get("date", "")) >= oldest]

    def _result(self, query: str, document: Document, position: int) -> dict[str, object]:
        url = document.uri or document.id
        date = document.metadata.get("date")
        return {
            "url": url,
            "title": document.title,
            "content": self._bm25.snippet(query, document.text),
            "engine": "loopback",
            "engines": ["loopback"],
            "positions": [position],
            "score": 1 / position,  # as SearXNG scores what one engine found
            "category": "general",
            "template": "default.html",
            "parsed_url": [*urlsplit(url)[:3], "", *urlsplit(url)[3:]],
            "publishedDate": f"{date}T00:00:00" if date else None,
        }


class _Folder(Mapping[str, bytes]):
    """The files below a folder, by path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def __getitem__(self, path: str) -> bytes:
        file = (self._folder / path.lstrip("/")).resolve()
        if not (file.is_file() and file.is_relative_to(self._folder)):
            raise KeyError(path)
        return file.read_bytes()

    def __iter__(self) -> Iterator[str]:
        files = (each for each in self._folder.rglob("*") if each.is_file())
        return (f"/{file.relative_to(self._folder).as_posix()}" for file in files)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _content_type(path: str) -> str:
    guessed = mimetypes.guess_type(path)[0] or "text/html"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed

"""What tests of fetching share."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rag.core.errors import FetchFailed
from rag.web.fetcher import WebFetcher
from tests.web.servers import Behaviour, Server

LOOPBACK = ["127.0.0.0/8"]
TEXT = "Some text, in words — more than a few of them."
Fetching = Callable[..., WebFetcher]
"""Makes a fetcher, given its options."""


def refused(fetcher: WebFetcher, url: str) -> FetchFailed:
    with pytest.raises(FetchFailed) as caught:
        fetcher.fetch(url)
    assert caught.value.url == url
    return caught.value


def answered(server: Server, behaviour: Behaviour) -> str:
    server.answers["/"] = behaviour
    return f"{server.url}/"


class Names:
    """What the names of hosts resolve to, in this process, and how often they were looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.lookups: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._lookup)

    def _lookup(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self.answers:
            return self._real(host, port, *args, **kwargs)
        self.lookups.append(name)
        script = self.answers[name]
        addresses = script.pop(0) if len(script) > 1 else script[0]
        return [
            entry for each in addresses for entry in self._real(each, port, type=socket.SOCK_STREAM)
        ]

from collections.abc import Iterator
from typing import Any

import pytest

from rag.web import connections
from rag.web.fetcher import WebFetcher
from tests.web.fetching import LOOPBACK, TEXT, Fetching, Names
from tests.web.servers import (
    Server,
    says,
)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server({"/page": says(TEXT)})
    yield server
    server.close()


@pytest.fixture
def fetching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fetching]:
    """Return a maker of fetchers of this machine's pages."""
    monkeypatch.setattr(connections, "_PAUSE", 0.01)
    made: list[WebFetcher] = []

    def make(**options: Any) -> WebFetcher:
        made.append(WebFetcher(**{"allow": LOOPBACK, **options}))
        return made[-1]

    yield make
    for fetcher in made:
        fetcher.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)

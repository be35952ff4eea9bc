import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from rag.core.errors import BatchError
from tests.web.fetching import TEXT, Fetching, Names
from tests.web.servers import (
    Request,
    Server,
    missing,
    redirects,
    says,
    slow,
)


@pytest.fixture
def fetching(fetching: Fetching) -> Fetching:
    return partial(fetching, respect_robots=False)


@pytest.mark.parametrize(("hosts", "most", "most_of_one"), [(5, 8, 2), (2, 6, 3)])
def test_as_many_are_in_flight_as_may_be(
    server: Server, fetching: Fetching, names: Names, hosts: int, most: int, most_of_one: int
) -> None:
    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        while server.most < most:
            await asyncio.sleep(0.01)
        await slow(0.02, says(TEXT))(request, writer)

    server.answers["*"] = behave
    named = [f"host{number}.example" for number in range(hosts)]
    names.answers |= {host: [["127.0.0.1"]] for host in named}
    urls = [server.at(named[number % hosts], f"/{number}") for number in range(100)]
    pages = fetching(concurrency=8, per_host=3).fetch_many(urls)
    assert [page.url for page in pages] == urls
    assert server.most == most
    assert most_of_one <= max(server.most_of.values()) <= 3


def test_a_slow_host_holds_up_no_other(server: Server, fetching: Fetching, names: Names) -> None:
    names.answers["slow.example"] = [["127.0.0.1"]]
    fast_came = threading.Event()

    async def waits(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(fast_came.wait, 10)
        await says(TEXT)(request, writer)

    async def comes(request: Request, writer: asyncio.StreamWriter) -> None:
        await says(TEXT)(request, writer)
        fast_came.set()

    server.answers |= {"*": waits, "/fast": comes}
    urls = [server.at("slow.example", f"/{number}") for number in range(10)]
    pages = fetching(concurrency=3, per_host=2).fetch_many([*urls, f"{server.url}/fast"])
    assert len(pages) == 11


def test_waiting_for_a_place_is_not_taking_too_long(server: Server, fetching: Fetching) -> None:
    server.answers["*"] = slow(0.4, says(TEXT))
    urls = [f"{server.url}/{number}" for number in range(6)]
    assert len(fetching(per_host=1, timeout=2.0).fetch_many(urls)) == 6


def test_one_that_fails_harms_no_other_and_one_url_is_fetched_once(
    server: Server, fetching: Fetching
) -> None:
    good, bad = f"{server.url}/page", f"{server.url}/none"
    with pytest.raises(BatchError) as caught:
        fetching().fetch_many([good, bad, "nonsense", good])
    first, second, third, fourth = caught.value.results
    assert first is fourth
    assert first.document.text == TEXT
    assert (second.cause, third.cause) == ("status", "url")
    assert sorted(server.paths) == ["/none", "/page"]
    assert fetching().fetch_many([]) == []


def test_threads_may_share_a_fetcher(server: Server, fetching: Fetching) -> None:
    server.answers["*"] = says(TEXT)
    fetcher = fetching()
    with ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(fetcher.fetch, [f"{server.url}/{n}" for n in range(40)]))
    assert len({page.url for page in pages}) == 40


def test_connections_are_kept(server: Server, fetching: Fetching, names: Names) -> None:
    names.answers["site.example"] = [["127.0.0.1"]]
    server.answers |= {"*": says(TEXT), "/0": missing, "/1": redirects("/2"), "/3": says("", 304)}
    fetcher = fetching(per_host=1)
    with pytest.raises(BatchError):
        fetcher.fetch_many([server.at("site.example", f"/{number}") for number in range(10)])
    assert len(server.requests) == 11
    assert len(names.lookups) == 1

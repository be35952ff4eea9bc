"""What every `SearchEngine` has to do.

Inherit the suite in a test module and say how an engine is made that finds some pages, and one
that cannot be asked::

    class TestMyEngine(SearchEngineConformance):
        def make_engine(self, pages):
            return MyEngine(serving(pages))

        def make_failing_engine(self):
            return MyEngine("http://127.0.0.1:1")
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest

from rag.core.errors import BatchError, EngineFailed, InputError
from rag.core.protocols import SearchEngine
from rag.core.web import EngineFailure, WebQuery, WebResult, WebResults

PAGES = tuple(
    WebResult(
        f"https://{creature}.example/{year}?part=1&lang=en",
        f"The {creature} in {year}",
        f"A report on the {creature}, written for the survey of {year}.",
        rank,
        engine="",
    )
    for rank, (creature, year) in enumerate(
        ((creature, year) for creature in ("heron", "otter", "lynx") for year in range(2001, 2010)),
        start=1,
    )
)
"""Twenty-seven pages; the titles of each nine share a word, and all of them share two."""


class SearchEngineConformance:
    """The suite, for engines that can be given an index."""

    def make_engine(self, pages: Sequence[WebResult]) -> SearchEngine:
        """Return an engine that finds those of some pages whose title has every word of a query.

        It finds them in the order in which they are given.
        """
        raise NotImplementedError

    def make_failing_engine(self) -> SearchEngine:
        """Return an engine that cannot be asked, for whatever reason."""
        raise NotImplementedError

    @pytest.fixture
    def engine(self) -> SearchEngine:
        """An engine with the pages of this module."""
        return self.make_engine(PAGES)

    def test_says_what_it_is(self, engine: SearchEngine) -> None:
        """It has a name, a price, and says what it may be told and how it is called."""
        assert isinstance(engine.name, str)
        assert engine.name
        assert engine.cost(WebQuery("heron")) >= 0
        assert isinstance(engine.discloses, frozenset)
        assert isinstance(engine.capabilities, frozenset)

    def test_finds_pages_in_the_order_of_the_engine(self, engine: SearchEngine) -> None:
        """Results are the pages, ranked from 1, plain text, and name the engine."""
        (found,) = engine.search_web([WebQuery("otter")])
        expected = [page for page in PAGES if "otter" in page.title]
        assert [result.url for result in found.results] == [page.url for page in expected]
        assert [result.title for result in found.results] == [page.title for page in expected]
        assert [result.snippet for result in found.results] == [page.snippet for page in expected]
        assert [result.rank for result in found.results] == [*range(1, len(expected) + 1)]
        assert {result.engine for result in found.results} == {engine.name}

    @pytest.mark.parametrize("count", [1, 3, 10])
    def test_count_only_cuts(self, engine: SearchEngine, count: int) -> None:
        """Asking for fewer results returns the first of those that asking for more does."""
        (found,) = engine.search_web([WebQuery("the", count=count)])
        assert [result.url for result in found.results] == [page.url for page in PAGES[:count]]

    def test_count_above_what_there_is(self, engine: SearchEngine) -> None:
        """All are returned, once each, and nothing besides."""
        (found,) = engine.search_web([WebQuery("lynx", count=10)])
        assert len({result.url for result in found.results}) == len(found.results) == 9

    def test_nothing_found(self, engine: SearchEngine) -> None:
        """A query that finds nothing has no results, which is no error."""
        (found,) = engine.search_web([WebQuery("basilisk")])
        assert found.results == ()

    @pytest.mark.parametrize("time_range", ["day", "week", "month", "year"])
    def test_time_ranges_are_understood(self, engine: SearchEngine, time_range: str) -> None:
        """Whatever they leave of the pages, in order."""
        query = WebQuery("heron", time_range=time_range)  # type: ignore[arg-type]
        (found,) = engine.search_web([query])
        urls = [result.url for result in found.results]
        assert urls == [page.url for page in PAGES if page.url in urls]

    def test_a_batch_is_its_queries(self, engine: SearchEngine) -> None:
        """Queries do not affect each other, and the same query gets the same results."""
        queries = [WebQuery(text) for text in ("lynx 2004", "heron", "lynx 2004", "otter 2001")]
        batch = engine.search_web(queries)
        assert [_urls(found) for found in batch] == [
            _urls(engine.search_web([query])[0]) for query in queries
        ]
        assert _urls(batch[0]) == ["https://lynx.example/2004?part=1&lang=en"]

    def test_threads_share_it(self, engine: SearchEngine) -> None:
        """Searches at the same time return what they return one by one."""
        queries = [WebQuery(page.title) for page in PAGES[::3]]
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda query: engine.search_web([query])[0], queries)
            assert [_urls(each) for each in found] == [[page.url] for page in PAGES[::3]]

    def test_no_queries(self, engine: SearchEngine) -> None:
        """No queries have no results."""
        assert engine.search_web([]) == []

    def test_a_search_is_metered(self, engine: SearchEngine) -> None:
        """It is one search, costs no more than was said before, and nothing is made again."""
        (found,) = engine.search_web([WebQuery("heron")])
        assert (found.usage.searches, found.usage.retries) == (1, 0)
        assert 0 <= found.usage.cost <= engine.cost(WebQuery("heron"))

    @pytest.mark.parametrize("query", [WebQuery(" \n"), WebQuery("heron", count=0)])
    def test_queries_without_sense_are_refused(self, engine: SearchEngine, query: WebQuery) -> None:
        """Nothing to look for, and nothing to return, are mistakes."""
        with pytest.raises(InputError):
            engine.search_web([query])

    @pytest.mark.parametrize(
        "text",
        ["heron & otter?", "50% #1 a+b=c", "鷺 🦦 \u202eright\u202c", "e\u0301 \ud800", "'\";--"],
    )
    def test_odd_queries_are_asked(self, engine: SearchEngine, text: str) -> None:
        """None breaks the request; none of these finds anything."""
        queries = [WebQuery("heron 2001"), WebQuery(f"heron 2001 {text}")]
        try:
            outcomes = engine.search_web(queries)
        except BatchError as error:
            outcomes = list(error.results)
            assert isinstance(outcomes[1], EngineFailed)
        assert _urls(outcomes[0]) == ["https://heron.example/2001?part=1&lang=en"]

    def test_failing_is_not_finding_nothing(self) -> None:
        """An engine that cannot be asked says so, and why."""
        engine = self.make_failing_engine()
        with pytest.raises(EngineFailed) as caught:
            engine.search_web([WebQuery("heron")])
        assert caught.value.engine == engine.name
        assert caught.value.cause in get_args(EngineFailure)
        assert caught.value.reason

    def test_each_query_of_a_batch_fails_by_itself(self) -> None:
        """Several queries have a result, or an error, each."""
        with pytest.raises(BatchError) as caught:
            self.make_failing_engine().search_web([WebQuery("heron"), WebQuery("otter")])
        assert [type(each) for each in caught.value.results] == [EngineFailed, EngineFailed]


def _urls(found: WebResults) -> list[str]:
    return [result.url for result in found.results]

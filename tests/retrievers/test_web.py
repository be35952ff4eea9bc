"""The web as a retriever: engines and pages that fail, budgets, labels, and the whole of it."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from rag.core.budgets import Budget
from rag.core.documents import Document
from rag.core.engine import Engine
from rag.core.errors import (
    BatchError,
    BudgetExhausted,
    EngineFailed,
    FetchFailed,
    FlowRefused,
    InputError,
    SearchFailed,
)
from rag.core.search_operations import Search
from rag.core.sensitivity import PUBLIC
from rag.core.usage import Usage
from rag.core.web import Page, WebResult, WebResults
from rag.retrievers.duplicates import url_key
from rag.retrievers.web import WebRetriever
from rag.testing.embedders import HashEmbedder
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb
from rag.testing.retriever_conformance import RetrieverConformance
from rag.testing.retrievers import FixedRetriever
from rag.web.engines.searxng import SearXNG
from rag.web.fetcher import WebFetcher

OWLS = {
    "http://owls.example/": "Owls hear mice under the snow.",
    "http://birds.example/owl": "An owl turns its head by 270 degrees.",
    "http://night.example/": "At night the owl hunts; by day it rests in old trees.",
    "http://zoo.example/": "The zoo has two owls and a lynx.",
}


class StatedEngine:
    """A search engine that finds the URLs it is told to, with these snippets, or fails."""

    discloses = PUBLIC
    capabilities = frozenset()

    def __init__(self, snippets, name="engine", notes=(), error=None, price=0.0):
        self.results = tuple(
            WebResult(url, "", snippet, rank, name)
            for rank, (url, snippet) in enumerate(snippets.items(), start=1)
        )
        self.name, self.notes, self.error, self.price = name, notes, error, price
        self.batches = []

    def cost(self, query):
        return self.price

    def search_web(self, queries):
        self.batches.append(queries)
        if self.error:
            raise self.error
        usage = Usage(searches=1, cost=self.price)
        return [WebResults(self.results[: each.count], self.notes, usage) for each in queries]


class StatedWeb:
    """A fetcher of stated pages: texts, documents, or why they cannot be fetched."""

    capabilities = frozenset()

    def __init__(self, pages):
        self.pages = {url_key(url): page for url, page in pages.items()}
        self.batches = []

    def fetch_many(self, urls):
        self.batches.append(list(urls))
        pages = [self._page(url) for url in urls]
        failed = [page for page in pages if isinstance(page, Exception)]
        if failed:
            raise BatchError(pages) if len(pages) > 1 else failed[0]
        return pages

    def _page(self, url):
        page = self.pages.get(url_key(url), "status")
        if isinstance(page, Document):
            return Page(url, page)
        if page in ("robots", "status", "timeout"):
            return FetchFailed(url, page, f"it failed by {page}")
        return Page(url, Document(url, page, uri=url, metadata={"sensitivity": "public"}))


def retriever(web=OWLS, snippets=None, embedder=None, **options):
    """A retriever of these pages, which the engine shows as they are unless snippets are given."""
    if snippets is None:
        snippets = {url: str(getattr(page, "text", page)) for url, page in web.items()}
    return WebRetriever([StatedEngine(snippets)], StatedWeb(web), embedder, **options)


def urls(hits):
    return [hit.passage.uri for hit in hits]


class TestConformance(RetrieverConformance):
    """Each document is a page of its own domain; the engine knows them all, in one order."""

    embedder = None

    def make_retriever(self, documents):
        pages = {
            f"http://{each.id}.example/": replace(each, uri=f"http://{each.id}.example/")
            for each in documents
        }
        snippets = {url: page.text for url, page in pages.items()}
        count = max(1, len(pages))
        return WebRetriever(
            [StatedEngine(snippets)], StatedWeb(pages), self.embedder, results=count, pages=count
        )


class TestConformanceWithAnEmbedder(TestConformance):
    embedder = HashEmbedder(256)


def test_finds_passages_of_pages():
    ranking = retriever(embedder=HashEmbedder()).find("how an owl turns its head", 2)
    assert ranking.hits[0].passage.text == OWLS["http://birds.example/owl"]
    assert ranking.hits[0].passage.document_id == "http://birds.example/owl"
    assert len(ranking.hits) == 2
    assert ranking.notes == ()
    assert (ranking.usage.searches, ranking.usage.fetches) == (1, 4)


def test_finding_nothing_is_no_failure():
    ranking = retriever({}).find("owl")
    assert ranking.hits == ()
    assert ranking.notes == ()


def test_an_empty_query_is_not_sent():
    engine = StatedEngine(OWLS)
    assert WebRetriever([engine], StatedWeb(OWLS)).search(" \n") == []
    assert engine.batches == []


def test_engines_are_asked_together_and_a_page_comes_once():
    engines = [
        StatedEngine({"http://zoo.example/": "", "http://owls.example/": ""}, "one"),
        StatedEngine(
            {"http://OWLS.example:80/?utm_source=b": "", "http://night.example/": ""}, "b"
        ),
    ]
    web = StatedWeb(OWLS)
    hits = WebRetriever(engines, web).search("?")
    # What both engines have is before what one has first.
    expected = ["//owls.example", "//zoo.example", "//night.example"]
    assert [[url_key(url) for url in batch] for batch in web.batches] == [expected]
    assert [url_key(url) for url in urls(hits)] == expected


def test_an_engine_that_fails_is_noted():
    broken = StatedEngine({}, error=EngineFailed("broken", "captcha", "wants a person"))
    ranking = WebRetriever([broken, StatedEngine(OWLS)], StatedWeb(OWLS)).find("owl")
    assert len(ranking.hits) == 4
    assert ranking.notes == ("one of 2 searches failed: broken: wants a person",)


def test_all_engines_failing_is_a_failed_search():
    errors = [EngineFailed("a", "blocked", "refuses"), EngineFailed("b", "timeout", "is silent")]
    engines = [StatedEngine({}, error=each) for each in errors]
    with pytest.raises(SearchFailed, match="web: a: refuses; b: is silent"):
        WebRetriever(engines, StatedWeb({})).search("owl")
    with pytest.raises(EngineFailed) as raised:
        WebRetriever(engines[:1], StatedWeb({})).search("owl")
    assert raised.value.cause == "blocked"


def test_notes_of_engines_are_kept():
    engine = StatedEngine(OWLS, notes=("duckduckgo does not answer: timeout",))
    ranking = WebRetriever([engine], StatedWeb(OWLS)).find("owl")
    assert ranking.notes == ("duckduckgo does not answer: timeout",)


def test_snippets_choose_the_pages():
    snippets = {**dict.fromkeys(OWLS, "a page"), "http://zoo.example/": "the two owls of the zoo"}
    chosen = WebRetriever([StatedEngine(snippets)], StatedWeb(OWLS), pages=1)
    assert urls(chosen.search("owls of the zoo")) == ["http://zoo.example/"]


def test_pages_that_fail_are_replaced_and_counted():
    pages = {**OWLS, "http://owls.example/": "robots", "http://zoo.example/": "timeout"}
    snippets = {**OWLS, "http://broken.example/": "owl"}
    web = StatedWeb(pages)
    ranking = WebRetriever([StatedEngine(snippets)], web, pages=3).find("owl")
    assert len(ranking.hits) == 2
    assert len(web.batches[0]) == 3
    assert sum(map(len, web.batches)) == 5
    assert ranking.notes == (
        "pages that could not be fetched: 3 of 5 (robots 1, status 1, timeout 1)",
    )


def test_a_snippet_is_no_passage():
    hits = retriever(
        {"http://a.example/": "A page about herons."},
        {"http://a.example/": "owls", "http://gone.example/": "all there is to know of owls"},
    ).search("owls")
    assert [hit.passage.text for hit in hits] == ["A page about herons."]


def test_no_page_that_can_be_read_is_a_failed_search():
    with pytest.raises(SearchFailed) as raised:
        retriever(dict.fromkeys(OWLS, "robots")).search("owl")
    assert "none of 4 pages could be fetched (robots 4); first: http://" in str(raised.value)


def test_no_more_pages_are_fetched_than_wanted():
    web = StatedWeb(OWLS)
    hits = WebRetriever([StatedEngine(OWLS)], web, pages=2).search("owl")
    assert len({*urls(hits)}) == 2
    assert [len(batch) for batch in web.batches] == [2]


def test_a_domain_is_not_read_alone():
    pages = {f"http://s{n}.big.example.org/": f"Owl number {n}." for n in range(6)} | OWLS
    hits = retriever(pages, pages=4).search("owl number")
    assert sum("big.example.org" in url for url in urls(hits)) == 2
    assert len({*urls(hits)}) == 4


def test_filters_hold_for_what_pages_state():
    pages = {
        url: Document(url, text, uri=url, metadata={"sensitivity": "public", "language": language})
        for url, text in OWLS.items()
        for language in ["de" if "zoo" in url else "en"]
    }
    german = retriever(pages, pages=1)
    assert urls(german.search("owl", where={"language": "de"})) == ["http://zoo.example/"]
    assert german.search("owl", where={"language": "fr"}) == []


def test_results_that_lead_to_one_page_are_one():
    page = Document("http://owls.example/new", "Owls moved.", uri="http://owls.example/new")
    hits = retriever({"http://owls.example/": page, "http://owls.example/old": page}).search("owl")
    assert urls(hits) == ["http://owls.example/new"]


def test_a_text_on_several_urls_is_found_once():
    text = OWLS["http://owls.example/"]
    (hit,) = retriever({"http://a.example/": text, "http://b.example/": text.upper()}).search("owl")
    found = {hit.passage.uri, *hit.passage.metadata["also_at"]}
    assert found == {"http://a.example/", "http://b.example/"}


def test_a_long_snippet_is_cut_to_what_the_embedder_reads():
    engine = StatedEngine({"http://owls.example/": "owl " * 500})
    hits = WebRetriever([engine], StatedWeb(OWLS), HashEmbedder(max_tokens=32)).search("owl")
    assert urls(hits) == ["http://owls.example/"]


def test_passages_have_the_size_that_is_asked():
    page = {"http://owls.example/": "The owl sits in a tree. " * 100}
    for embedder in (None, HashEmbedder()):
        small = retriever(page, embedder=embedder, passage_tokens=40).search("owl", 100)
        assert len(small) > 15
        assert all(len(hit.passage.text.split()) <= 40 for hit in small)


def test_within_is_a_copy_for_pages_of_some_age():
    engine = StatedEngine(OWLS)
    always = WebRetriever([engine], StatedWeb(OWLS))
    always.within("week").search("owl")
    always.search("owl")
    assert [batch[0].time_range for batch in engine.batches] == ["week", None]


def test_queries_are_searched_in_one_batch():
    engine, web = StatedEngine(OWLS), StatedWeb(OWLS)
    several = WebRetriever([engine], web, results=2).search_many(["owl", "lynx", "zoo"], 3)
    assert [[query.text for query in batch] for batch in engine.batches] == [["owl", "lynx", "zoo"]]
    assert [len(batch) for batch in web.batches] == [6]
    assert all(len(hits) == 2 for hits in several)


def test_what_was_read_elsewhere_is_not_told_to_an_engine():
    web = retriever()
    private = FixedRetriever(["the owl of the director"])

    async def program():
        await Search("owl", retriever=private)
        return await Search("owl", retriever=web)

    (outcome,) = Engine().run_many([program()])
    assert isinstance(outcome.error, FlowRefused)
    assert web.engines[0].batches == []


def test_pages_are_public():
    (outcome,) = Engine().run_many([retriever().program("owl", 3)])
    assert outcome.sensitivity == PUBLIC


class TestBudgets:
    def test_without_money_for_an_engine_the_others_are_asked(self):
        engines = [StatedEngine(OWLS, "paid", price=1.0), StatedEngine(OWLS, "free")]
        ranking = WebRetriever(engines, StatedWeb(OWLS)).find("owl", budget=Budget(cost=0.5))
        assert len(ranking.hits) == 4
        (note,) = ranking.notes
        assert note.startswith("one of 2 searches failed: budget of 0.5 cost")
        assert engines[0].batches == []

    def test_without_money_for_any_engine_it_ends(self):
        paid = WebRetriever([StatedEngine(OWLS, price=1.0)], StatedWeb(OWLS))
        with pytest.raises(BudgetExhausted):
            paid.find("owl", budget=Budget(cost=0.5))

    def test_money_is_metered(self):
        paid = WebRetriever([StatedEngine(OWLS, price=1.0)], StatedWeb(OWLS))
        assert paid.find("owl", budget=Budget(cost=1)).usage.cost == 1

    def outcome(self, pages, slow):
        """Search for two pages in 10 seconds; each call of one backend takes 11."""
        now = [0.0]
        parts = {"search_web": StatedEngine(OWLS), "fetch_many": StatedWeb(pages)}
        work = getattr(parts[slow], slow)

        def slowly(items):
            now[0] += 11
            return work(items)

        setattr(parts[slow], slow, slowly)
        web = WebRetriever([parts["search_web"]], parts["fetch_many"], HashEmbedder(), pages=2)
        program = web.program("owls hear mice, old trees", 3)
        return Engine(clock=lambda: now[0]).run_many([program], budget=Budget(seconds=10))[0]

    def test_out_of_time_it_returns_what_it_has_read(self):
        outcome = self.outcome({**OWLS, "http://owls.example/": "robots"}, "fetch_many")
        assert urls(outcome.unwrap()) == ["http://night.example/"]
        failed, unread, by_words = outcome.notes
        assert failed == "pages that could not be fetched: 1 of 2 (robots 1)"
        assert unread.startswith("no more pages were fetched: budget of 10 seconds exhausted")
        assert by_words.startswith("ranked by words alone: budget of 10 seconds exhausted")

    def test_out_of_time_before_a_page_is_read_it_ends(self):
        assert isinstance(self.outcome(OWLS, "search_web").error, BudgetExhausted)


@pytest.mark.parametrize("option", ["results", "pages", "per_domain"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(InputError, match=f"{option} is 0"):
        retriever(**{option: 0})


def test_an_engine_is_needed():
    with pytest.raises(InputError, match="no search engine"):
        WebRetriever([], StatedWeb({}))


def html(title, *paragraphs):
    """A page with furniture around what it says."""
    said = "".join(f"<p>{each}</p>" for each in paragraphs)
    return (
        f"<!doctype html><html><head><title>{title}</title></head><body><nav><a href='/'>Home</a>"
        f"</nav><main><article><h1>{title}</h1>{said}</article></main></body></html>"
    )


def test_real_servers():
    """SearXNG over HTTP, pages over HTTP: what is found, what is folded, what is noted."""
    owls = (
        "Barn owls hunt by ear: one of their ears is higher than the other, so that a sound from "
        "below arrives at each a little differently. In deep snow a great grey owl hears a vole "
        "that is half a metre down, and breaks through the crust with its feet."
    )
    herons = "Herons stand in shallow water and wait, for hours if need be, until a fish comes by."
    sites = {
        "127.0.0.2": {"/owls": html("Owls by night", owls)},
        "127.0.0.3": {"/mirror": html("Owls, mirrored", owls), "/herons": html("Herons", herons)},
        "127.0.0.4": {},
    }
    with ExitStack() as stack:
        webs = [stack.enter_context(LoopbackWeb(pages, host=host)) for host, pages in sites.items()]
        found = [
            Document(web.url(path), owls if "heron" not in path else herons, title=path)
            for web, paths in zip(
                webs, [["/owls"], ["/mirror", "/herons"], ["/gone-owls"]], strict=True
            )
            for path in paths
        ]
        searxng = stack.enter_context(LoopbackSearXNG(found, order="shuffled"))
        fetcher = stack.enter_context(WebFetcher(allow=["127.0.0.0/8"]))
        web = WebRetriever([SearXNG(searxng.url(), per_second=100)], fetcher, HashEmbedder())
        ranking = web.find("which ear of barn owls, or herons, is higher", 5)
        assert searxng.queries == ["which ear of barn owls, or herons, is higher"]
    owl, heron = ranking.hits
    assert "one of their ears is higher" in owl.passage.text
    (other,) = owl.passage.metadata["also_at"]
    assert {owl.passage.uri, other} == {webs[0].url("/owls"), webs[1].url("/mirror")}
    assert heron.passage.uri == webs[1].url("/herons")
    assert heron.passage.sensitivity == PUBLIC
    assert ranking.notes == ("pages that could not be fetched: 1 of 4 (status 1)",)
    assert (ranking.usage.searches, ranking.usage.fetches) == (1, 3)

"""What every `Retriever` has to do.

Inherit the suite in a test module and say how a retriever of some documents is made::

    class TestMyRetriever(RetrieverConformance):
        def make_retriever(self, documents):
            return MyRetriever(documents)
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from rag.core.documents import Document
from rag.core.errors import FilterError, InputError
from rag.core.filters import Where, matches, parse_where
from rag.core.hits import Hit
from rag.core.protocols import Retriever

DOCUMENTS = tuple(
    Document(
        f"{creature}-{year}",
        f"A report on the {creature} of {place}, written for the survey of {year}.",
        title=f"The {creature}",
        metadata={"year": year, "lang": language, "tags": [creature, place]},
    )
    for creature, place in (
        ("heron", "Camargue"),
        ("otter", "Shetland"),
        ("lynx", "Jura"),
        ("beetle", "Białowieża"),
        ("salamander", "Asturias"),
    )
    for year, language in ((1999, "en"), (2005, "fr"), (2011, "en"), (2020, "de"))
)
"""Twenty short documents with metadata; all share words, each pair differs in some."""


class RetrieverConformance:
    """The suite, for retrievers that find passages by the words or the meaning of a query."""

    def make_retriever(self, documents: Sequence[Document]) -> Retriever:
        """Return a retriever of documents, each short enough to be one passage."""
        raise NotImplementedError

    @pytest.fixture
    def retriever(self) -> Retriever:
        """A retriever of the documents of this module."""
        return self.make_retriever(DOCUMENTS)

    def test_has_a_name(self, retriever: Retriever) -> None:
        """It can be told apart in scores and traces."""
        assert isinstance(retriever.name, str)
        assert retriever.name

    def test_finds_a_document_by_its_words(self, retriever: Retriever) -> None:
        """A document's own text finds it first."""
        queries = [f"{document.title} {document.text}" for document in DOCUMENTS]
        first = [hits[0].passage.document_id for hits in retriever.search_many(queries, 3)]
        assert first == [document.id for document in DOCUMENTS]

    @pytest.mark.parametrize("top_k", [1, 2, 7, 19])
    def test_returns_the_best_in_order(self, retriever: Retriever, top_k: int) -> None:
        """As many as asked for, best first, none twice, each with the parts of its score."""
        (hits,) = retriever.search_many(["survey of the otter"], top_k)
        assert len(hits) == top_k
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len({hit.passage.id for hit in hits}) == top_k
        for hit in hits:
            assert hit.scores
            assert hit.scores.keys() == hit.ranks.keys()
            assert min(hit.ranks.values()) >= 1

    def test_top_k_only_cuts(self, retriever: Retriever) -> None:
        """Asking for fewer hits returns the first of those that asking for more does."""
        (many,) = retriever.search_many(["survey of the lynx"], 15)
        (few,) = retriever.search_many(["survey of the lynx"], 4)
        assert _ids(few) == _ids(many[:4])

    def test_top_k_above_the_number_of_passages(self, retriever: Retriever) -> None:
        """All are returned, once each, and nothing besides."""
        (hits,) = retriever.search_many(["survey"], 1000)
        assert sorted(_ids(hits)) == sorted({*_ids(hits)})
        assert len(hits) == len(DOCUMENTS)

    @pytest.mark.parametrize("top_k", [0, -1])
    def test_top_k_below_one_is_refused(self, retriever: Retriever, top_k: int) -> None:
        """Asking for nothing is a mistake."""
        with pytest.raises(InputError):
            retriever.search_many(["survey"], top_k)

    def test_passages_are_whole(self, retriever: Retriever) -> None:
        """A hit's passage is the stored one: its text, its place and its metadata."""
        (hits,) = retriever.search_many(["survey"], len(DOCUMENTS))
        stored = {document.id: document for document in DOCUMENTS}
        for hit in hits:
            document = stored[hit.passage.document_id]
            assert document.text[hit.passage.start : hit.passage.end] == hit.passage.text
            assert hit.passage.title == document.title
            assert dict(hit.passage.metadata) == dict(document.metadata)

    def test_a_batch_is_its_queries(self, retriever: Retriever) -> None:
        """Queries do not affect each other, and the same query gets the same hits."""
        queries = ["heron of Camargue", "survey of 2011", "heron of Camargue", "lynx", "report"]
        batch = retriever.search_many(queries, 5)
        assert len(batch) == len(queries)
        for query, hits in zip(queries, batch, strict=True):
            (alone,) = retriever.search_many([query], 5)
            assert _ids(alone) == _ids(hits)
            assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits])

    def test_threads_share_it(self, retriever: Retriever) -> None:
        """Searches at the same time return what they return one by one."""
        queries = [f"{document.title} {document.text}" for document in DOCUMENTS]
        expected = [_ids(retriever.search_many([query], 5)[0]) for query in queries]
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda query: retriever.search_many([query], 5)[0], queries)
            assert [_ids(hits) for hits in found] == expected

    def test_no_queries(self, retriever: Retriever) -> None:
        """No queries have no results."""
        assert retriever.search_many([], 5) == []

    @pytest.mark.parametrize(
        "query",
        [
            "",
            " \t\n",
            "?!…",
            '"unbalanced (AND OR NOT',
            "title:heron^3 [a TO b] {x} +y -z ~2 /re.*/",
            "'; DROP TABLE passages; --",
            "Białowieża BIAŁOWIEŻA białowieża",  # both composed
            "who is it",
            "鷺 🦦 \u202eright-to-left\u202c \x00 e\u0301",
        ],
    )
    def test_odd_queries_are_ordinary_text(self, retriever: Retriever, query: str) -> None:
        """No query is read as syntax, and none fails."""
        (hits,) = retriever.search_many([query], 3)
        assert len(hits) <= 3

    @pytest.mark.parametrize(
        "where",
        [
            {"year": 2011},
            {"year": {"gte": 2005, "lt": 2020}, "lang": "fr"},
            {"tags": {"in": ["lynx", "Shetland"]}},
            {"or": [{"tags": "heron"}, {"not": {"lang": {"in": ["en", "fr"]}}}]},
            {"year": {"exists": False}},
            {},
        ],
    )
    def test_filters_are_exact(self, retriever: Retriever, where: Where) -> None:
        """Every passage that matches is found, no other, and `top_k` of them if so many match."""
        condition = parse_where(where)
        expected = {each.id for each in DOCUMENTS if matches(condition, each.metadata)}
        # All documents share a word with the query, so only the filter can leave one out.
        (hits,) = retriever.search_many(["survey of the otter"], len(DOCUMENTS), where)
        assert {hit.passage.document_id for hit in hits} == expected
        for top_k in (1, 3):
            (hits,) = retriever.search_many(["survey of the otter"], top_k, where)
            assert len(hits) == min(top_k, len(expected))
            assert {hit.passage.document_id for hit in hits} <= expected

    def test_a_malformed_filter_is_refused(self, retriever: Retriever) -> None:
        """It is an error, not an empty result."""
        with pytest.raises(FilterError):
            retriever.search_many(["survey"], 3, {"year": {"about": 2005}})

    def test_nothing_to_search(self) -> None:
        """Without documents nothing is found, which is no error."""
        assert self.make_retriever([]).search_many(["survey", "otter"], 3) == [[], []]


def _ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.id for hit in hits]

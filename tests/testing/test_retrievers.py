"""The fixed search engine."""

import pytest

from rag.core.documents import Passage
from rag.testing.retriever_conformance import RetrieverConformance
from rag.testing.retrievers import FixedRetriever


class TestConformance(RetrieverConformance):
    def make_retriever(self, documents):
        return FixedRetriever(
            Passage(
                f"{each.id}#0",
                each.id,
                each.text,
                0,
                len(each.text),
                title=each.title,
                metadata=each.metadata,
            )
            for each in documents
        )


def texts(hits):
    return [hit.passage.text for hit in hits]


def test_ranks_by_the_share_of_the_words():
    retriever = FixedRetriever(["red fox", "grey wolf", "a Grey fox"])
    hits = retriever.search("grey fox")
    assert texts(hits) == ["a Grey fox", "red fox", "grey wolf"]
    assert [hit.score for hit in hits] == [1.0, 0.5, 0.5]
    assert [hit.ranks for hit in hits] == [{"fixed": 1}, {"fixed": 2}, {"fixed": 3}]


def test_no_common_word_is_no_hit():
    assert FixedRetriever(["red fox"]).search("owl") == []


def test_stated_results_replace_the_search():
    retriever = FixedRetriever(["red fox"], results={"fox?": ["grey wolf", "owl"], "none": []})
    assert texts(retriever.search("fox?")) == ["grey wolf", "owl"]
    assert [hit.score for hit in retriever.search("fox?")] == [1.0, 0.5]
    assert texts(retriever.search("fox?", 1)) == ["grey wolf"]
    assert retriever.search("none") == []
    assert texts(retriever.search("fox")) == ["red fox"]


def test_stated_results_are_filtered():
    old = Passage("old", "d", "wolf", 0, 4, metadata={"year": 1999})
    new = Passage("new", "d", "wolf", 0, 4, metadata={"year": 2020})
    retriever = FixedRetriever(results={"wolf": [old, new]})
    (hit,) = retriever.search("wolf", where={"year": {"gte": 2000}})
    assert hit.passage is new


def test_remembers_what_it_was_asked():
    retriever = FixedRetriever(["red fox"], name="wildlife")
    retriever.search_many(["fox", "owl"], 3)
    retriever.search("fox")
    assert retriever.queries == ["fox", "owl", "fox"]
    assert retriever.search("fox")[0].scores == {"wildlife": pytest.approx(1.0)}

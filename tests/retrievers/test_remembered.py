"""Searches that were made before: the conformance suite, and what is not asked again."""

import pytest

from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.retrievers import RememberedRetriever
from rag.testing import FixedRetriever
from rag.testing.retriever_conformance import RetrieverConformance


class TestConformance(RetrieverConformance):
    def make_retriever(self, documents):
        return RememberedRetriever(
            FixedRetriever(
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
        )


@pytest.fixture
def inner():
    return FixedRetriever(["red fox", "grey fox", "grey wolf"])


def test_the_same_search_is_made_once(inner):
    retriever = RememberedRetriever(inner)
    first = retriever.search_many(["fox", "wolf", "fox"], 2)
    assert inner.queries == ["fox", "wolf"]
    assert retriever.search_many(["wolf", "fox"], 2) == [first[1], first[0]]
    assert inner.queries == ["fox", "wolf"]


def test_fewer_hits_are_the_first_of_more(inner):
    retriever = RememberedRetriever(inner)
    (two,) = retriever.search_many(["fox"], 2)
    assert retriever.search_many(["fox"], 1) == [two[:1]]
    assert inner.queries == ["fox"]
    (three,) = retriever.search_many(["grey fox"], 3)
    assert len(three) == 3
    assert retriever.search_many(["fox"], 3) == [two]
    assert inner.queries == ["fox", "grey fox", "fox"], "more were wanted than were known"


def test_filters_are_kept_apart(inner):
    retriever = RememberedRetriever(inner)
    assert len(retriever.search_many(["fox"], 2)[0]) == 2
    assert retriever.search_many(["fox"], 2, {"lang": "en"}) == [[]]
    assert len(retriever.search_many(["fox"], 2)[0]) == 2
    assert inner.queries == ["fox", "fox"]


def test_what_is_returned_is_the_caller_s_to_change(inner):
    retriever = RememberedRetriever(inner)
    retriever.search_many(["fox"], 2)[0].clear()
    assert len(retriever.search_many(["fox"], 2)[0]) == 2


@pytest.mark.parametrize("top_k", [0, -1])
def test_a_known_query_does_not_excuse_a_mistake(inner, top_k):
    retriever = RememberedRetriever(inner)
    retriever.search_many(["fox"], 2)
    with pytest.raises(InputError, match=f"top_k is {top_k}"):
        retriever.search_many(["fox"], top_k)


def test_a_search_that_failed_is_made_again(inner):
    class Once:
        name = "once"
        failed = False

        def search_many(self, queries, top_k, where=None):
            if not self.failed:
                self.failed = True
                raise RuntimeError("down")
            return inner.search_many(queries, top_k, where)

    retriever = RememberedRetriever(Once())
    assert retriever.name == "once"
    with pytest.raises(RuntimeError, match="down"):
        retriever.search_many(["fox"], 2)
    assert len(retriever.search_many(["fox"], 2)[0]) == 2

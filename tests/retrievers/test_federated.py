"""Several retrievers as one: shares, ids, failures."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.documents import Passage
from rag.core.engine import Engine
from rag.core.errors import BudgetExhausted, EngineFailed, FlowRefused, InputError, SearchFailed
from rag.core.operations import Note
from rag.core.search_operations import Search
from rag.retrievers.federated import FederatedRetriever
from rag.retrievers.program import ProgramRetriever
from rag.testing.retriever_conformance import RetrieverConformance
from rag.testing.retrievers import FixedRetriever


def source(prefix, count=6, name="fixed"):
    """A retriever that always finds the same passages."""
    return FixedRetriever(results={"owl": [f"{prefix}{n}" for n in range(1, count + 1)]}, name=name)


def texts(hits):
    return [hit.passage.text for hit in hits]


class Failing(ProgramRetriever):
    """A retriever that fails."""

    name = "failing"

    def __init__(self, error):
        self.error = error

    async def program(self, query, top_k, where=None):
        await Note("it was asked")
        raise self.error


class TestConformance(RetrieverConformance):
    def make_retriever(self, documents):
        passages = [
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
        ]
        return FederatedRetriever({"here": FixedRetriever(passages), "there": FixedRetriever()})


def test_equal_weights_take_turns():
    both = FederatedRetriever({"local": source("l"), "web": source("w")})
    assert texts(both.search("owl", 5)) == ["l1", "w1", "l2", "w2", "l3"]


def test_scores_of_both_levels_are_kept():
    both = FederatedRetriever({"local": source("l"), "web": source("w", name="engine")})
    first, second, *_ = both.search("owl")
    assert first.scores == {"fixed": 1.0, "local": 1.0}
    assert second.scores == {"engine": 1.0, "web": 1.0}
    third = both.search("owl")[2]
    assert third.score == 0.5
    assert third.scores == {"fixed": 0.5, "local": 0.5}
    assert third.ranks == {"fixed": 2, "local": 2}


@pytest.mark.parametrize(
    ("weights", "shares"), [((3, 1), (9, 3)), ((1, 2), (4, 8)), ((1, 0), (12, 0))]
)
def test_shares_are_in_proportion_to_the_weights(weights, shares):
    sources = {"local": source("l", 20), "web": source("w", 20)}
    both = FederatedRetriever(sources, dict(zip(sources, weights, strict=True)))
    counts = Counter(text[0] for text in texts(both.search("owl", 12)))
    assert (counts["l"], counts["w"]) == shares


@given(
    weights=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10)),
    top_k=st.integers(1, 30),
)
def test_no_source_gets_less_than_its_share(weights, top_k):
    """Lower quota, which d'Hondt's method keeps."""
    sources = {name: source(name, 30) for name in "abc"}
    many = FederatedRetriever(sources, dict(zip("abc", weights, strict=True)))
    counts = Counter(text[0] for text in texts(many.search("owl", top_k)))
    for name, weight in zip("abc", weights, strict=True):
        assert counts[name] >= int(top_k * weight / sum(weights) - 1e-9)


def test_a_source_with_few_hits_leaves_room():
    both = FederatedRetriever({"local": source("l", 1), "web": source("w")})
    assert texts(both.search("owl", 4)) == ["l1", "w1", "w2", "w3"]


def test_a_time_range_is_for_sources_that_know_how_old_texts_are():
    asked = []

    class Dated(FixedRetriever):
        def within(self, time_range):
            asked.append(time_range)
            return source("recent", name="web")

    both = FederatedRetriever({"local": source("local"), "web": Dated(name="web")})
    assert texts(both.within("week").search("owl", 2)) == ["local1", "recent1"]
    assert asked == ["week"]
    assert texts(both.search("owl", 2)) == ["local1", "local2"]


def test_a_source_without_weight_is_not_asked():
    silent = source("w")
    only = FederatedRetriever({"local": source("l"), "web": silent}, {"web": 0})
    assert texts(only.search("owl", 2)) == ["l1", "l2"]
    assert silent.queries == []


def test_ids_of_two_sources_do_not_meet():
    mine = FixedRetriever([Passage("readme#0", "readme", "the owl of mine", 0, 15)])
    yours = FixedRetriever([Passage("readme#0", "readme", "the owl of yours", 0, 16)])
    hits = FederatedRetriever({"mine": mine, "yours": yours}).search("owl")
    assert [hit.passage.id for hit in hits] == ["mine:readme#0", "yours:readme#0"]
    assert [hit.passage.document_id for hit in hits] == ["readme", "readme"]


@pytest.mark.parametrize(
    "error",
    [
        SearchFailed("disk", "gone"),
        EngineFailed("brave", "captcha", "wants a person"),
        FlowRefused("brave", "internal", "public"),
    ],
)
def test_a_source_that_fails_is_noted_and_left_out(error):
    both = FederatedRetriever({"local": source("l"), "web": Failing(error)})
    ranking = both.find("owl", 2)
    assert texts(ranking.hits) == ["l1", "l2"]
    assert ranking.notes == ("it was asked", f"one of 2 searches failed: {error}")
    assert ranking.usage.searches == 1


def test_all_failing_is_an_error_with_all_reasons():
    errors = [SearchFailed("disk", "gone"), EngineFailed("brave", "blocked", "refused")]
    both = FederatedRetriever(dict(zip("ab", map(Failing, errors), strict=True)))
    with pytest.raises(SearchFailed, match="federated: disk: gone; brave: refused"):
        both.search("owl")


def test_an_unforeseen_error_passes():
    both = FederatedRetriever({"local": source("l"), "web": Failing(InputError("too long"))})
    with pytest.raises(InputError, match="too long"):
        both.search("owl")


def test_no_budget_for_any_source():
    both = FederatedRetriever({"local": source("l"), "web": source("w")})
    with pytest.raises(BudgetExhausted):
        both.find("owl", budget=Budget(seconds=0))


def test_a_pipeline_searches_all_at_once():
    """Inside a program its sources are operations of that program's question."""
    sources = {"local": source("l"), "web": source("w")}

    async def program(query):
        return await Search(query, 3)

    outcomes = Engine(retriever=FederatedRetriever(sources)).run_many(
        [program("owl"), program("none")]
    )
    assert [texts(outcome.unwrap()) for outcome in outcomes] == [["l1", "w1", "l2"], []]
    assert sources["web"].queries == ["owl", "none"]
    assert outcomes[0].usage.searches == 2


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"wbe": 1}, "weights name wbe; there are local"),
        ({"local": -1}, "the weight of local is -1"),
        ({"local": float("nan")}, "the weight of local is nan"),
        ({"local": 0}, "nothing to search"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, reason):
    with pytest.raises(InputError, match=reason):
        FederatedRetriever({"local": source("l")}, weights)

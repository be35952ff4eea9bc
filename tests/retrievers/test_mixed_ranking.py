"""Mixed ranking: what each signal does, and what is left of the engine's order."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from rag.core.budgets import Budget
from rag.core.documents import Passage
from rag.core.engine import Engine
from rag.core.hits import Hit
from rag.evaluation.metrics import ndcg
from rag.retrievers.mixed_ranking import (
    MixedWeights,
    at_most,
    rank_passages,
    rank_results,
    registered_domain,
)
from rag.testing.embedders import HashEmbedder
from rag.testing.retriever_conformance import DOCUMENTS

RESULTS = {"snippet_lexical", "snippet_dense", "engine"}
DEFAULT = MixedWeights()
PASSAGES = {"passage_lexical", "passage_dense", "page_lexical", "page_dense"}


def result(name, snippet, rank=1, title=""):
    url = f"http://{name}.example/"
    return Hit(Passage(url, url, snippet, 0, len(snippet), title=title, uri=url), 1 / rank)


def passages_of(hit, *texts):
    url = hit.passage.uri
    return [Passage(f"{url}#{n}", url, text, 0, len(text)) for n, text in enumerate(texts)]


def ranked(query, texts, embedder=None, weights=DEFAULT):
    """Rank results with these snippets by page name, in the engine's order."""
    results = [result(name, text, rank) for rank, (name, text) in enumerate(texts.items(), 1)]
    return Engine().run(rank_results(query, results, embedder, weights))


def names(hits):
    return [hit.passage.document_id.split("/")[2].removesuffix(".example") for hit in hits]


def test_snippets_rank_results():
    hits = ranked("grey fox", {"a": "an owl", "b": "a fox", "c": "the grey fox"}, HashEmbedder())
    assert names(hits)[0] == "c"
    assert all(hit.scores.keys() == hit.ranks.keys() == RESULTS for hit in hits)
    assert hits[0].ranks == {"snippet_lexical": 1, "snippet_dense": 1, "engine": 3}


def test_titles_count():
    results = [result("a", "It hunts at dusk."), result("b", "It hunts at dusk.", title="Grey fox")]
    hits = Engine().run(rank_results("grey fox", results, None, MixedWeights()))
    assert names(hits) == ["b", "a"]


def test_engines_decide_where_nothing_else_does():
    hits = ranked("鷺", {"b": "an owl", "a": "a fox", "c": "a lynx"})
    assert names(hits) == ["b", "a", "c"]


def test_meaning_ranks_where_words_do_not(minilm):
    texts = {
        "trains": "Timetables of trains that leave before noon.",
        "fees": "How much physicians earn in each state.",
        "bees": "A worker bee dances for the others.",
    }
    assert names(ranked("salary of doctors", texts, minilm))[0] == "fees"


@settings(deadline=None)
@given(st.permutations(range(8)), st.sampled_from([None, HashEmbedder()]))
def test_without_a_weight_the_engine_s_order_has_no_say(order, embedder):
    texts = {each.id: each.text for each in DOCUMENTS[:8]}
    shuffled = {key: texts[key] for key in (list(texts)[place] for place in order)}
    weights = MixedWeights(engine=0)
    expected = ranked("the heron of 2011", texts, embedder, weights)
    assert names(ranked("the heron of 2011", shuffled, embedder, weights)) == names(expected)


@pytest.mark.parametrize("embedder", [None, HashEmbedder(512)])
def test_a_shuffled_engine_leaves_no_trace(embedder):
    """Pages are ordered by how relevant they are, in whatever order the engine has them."""
    sought = "heron otter lynx beetle newt crane stork ibis gull tern".split()
    grades = {f"page{known}": known for known in range(len(sought) + 1)}
    texts = {
        page: " ".join([*sought[:known], *(f"other{n}" for n in range(known, len(sought)))])
        for page, known in grades.items()
    }
    rng = random.Random(0)
    taus = []
    for _ in range(60):
        order = rng.sample(sorted(texts), len(texts))
        found = names(ranked(" ".join(sought), {each: texts[each] for each in order}, embedder))
        assert ndcg(found, grades, 10) > 0.98
        taus.append(kendalltau(range(len(order)), [order.index(each) for each in found]).statistic)
    assert abs(sum(taus) / len(taus)) < 0.1


def test_passages_keep_every_signal():
    results = ranked("grey fox", {"a": "a fox", "b": "an owl"}, HashEmbedder())
    texts = {"a": ["the grey fox", "at dusk"], "b": ["an owl", "a grey owl"]}
    pages = [(hit, passages_of(hit, *texts[name])) for hit, name in zip(results, "ab", strict=True)]
    hits = Engine().run(rank_passages("grey fox", pages, HashEmbedder(), MixedWeights()))
    assert len(hits) == 4
    assert hits[0].passage.text == "the grey fox"
    assert all(before.score >= after.score for before, after in pairwise(hits))
    for hit in hits:
        assert hit.scores.keys() == hit.ranks.keys() == RESULTS | PASSAGES
        # What is of the page is the same for all its passages.
        (page,) = (each for each in results if each.passage.uri == hit.passage.document_id)
        assert {name: hit.scores[name] for name in RESULTS} == page.scores
    assert {hit.ranks["page_lexical"] for hit in hits} == {1, 2}


def test_without_an_embedder_words_have_all_the_weight():
    weights = MixedWeights(passage=0.5, page=0.2, snippet=0.2, engine=0.1, dense=0.4)
    assert weights.of(["passage_lexical", "engine"]) == {"passage_lexical": 0.5, "engine": 0.1}
    both = weights.of(["passage_lexical", "passage_dense", "engine"])
    assert both == pytest.approx({"passage_lexical": 0.3, "passage_dense": 0.2, "engine": 0.1})


def test_the_page_decides_between_equal_passages():
    results = [result("a", "a page"), result("b", "a page")]
    texts = ["the grey fox", "about owls"], ["the grey fox", "a fox that is grey, and more foxes"]
    pages = [(hit, passages_of(hit, *own)) for hit, own in zip(results, texts, strict=True)]
    weights = MixedWeights(passage=0, page=1, snippet=0, engine=0, repeat=0)
    hits = Engine().run(rank_passages("grey fox", pages, None, weights))
    assert names(hits) == ["b", "b", "a", "a"]


@pytest.mark.parametrize(("repeat", "order"), [(0, "aaabb"), (0.3, "ababa")])
def test_pages_take_turns_where_passages_are_alike(repeat, order):
    results = [result("a", "a page"), result("b", "a page")]
    texts = ["grey fox"] * 3, ["the grey fox here"] * 2
    pages = [(hit, passages_of(hit, *own)) for hit, own in zip(results, texts, strict=True)]
    weights = MixedWeights(passage=0.2, page=0, snippet=0, engine=0, repeat=repeat)
    hits = Engine().run(rank_passages("grey fox", pages, None, weights))
    assert "".join(names(hits)) == order


def test_of_very_many_passages_the_likely_ones_are_embedded():
    hit = result("a", "a page")
    texts = [f"line {number} of herons" for number in range(100)] + ["a fox"] * 200
    pages = [(hit, passages_of(hit, *texts))]
    hits = Engine().run(rank_passages("herons", pages, HashEmbedder(), MixedWeights()))
    assert len(hits) == 300
    embedded = [each.passage.text for each in hits if "passage_dense" in each.scores]
    assert len(embedded) == 128
    assert sum("herons" in text for text in embedded) == 100


def test_without_budget_for_embedding_words_rank():
    results = [result("a", "an owl"), result("b", "a grey fox")]
    (outcome,) = Engine().run_many(
        [rank_results("grey fox", results, HashEmbedder(), MixedWeights())],
        budget=Budget(seconds=0),
    )
    hits = outcome.unwrap()
    assert names(hits) == ["b", "a"]
    assert hits[0].scores.keys() == {"snippet_lexical", "engine"}
    assert len(outcome.notes) == 1
    assert outcome.notes[0].startswith("ranked by words alone: budget of 0 seconds exhausted")


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://docs.example.co.uk/x", "example.co.uk"),
        ("https://www.example.org:8443/", "example.org"),
        ("http://127.0.0.1:8000/x", "127.0.0.1:8000"),
        ("http://localhost/x", "localhost"),
        ("http://[::1/", "http://[::1/"),
    ],
)
def test_registered_domain(url, domain):
    assert registered_domain(url) == domain


@given(st.text() | st.from_regex(r"https?://[^/]*(/.*)?", fullmatch=True))
def test_any_text_has_a_domain(url):
    assert isinstance(registered_domain(url), str)


def test_a_domain_has_only_so_many_pages():
    urls = [
        "http://a.example.org/1",
        "http://b.example.org/2",
        "http://x.net/",
        "http://example.org/3",
    ]
    hits = [Hit(Passage(url, url, "", 0, 0, uri=url), 1.0) for url in urls]
    assert [hit.passage.uri for hit in at_most(2, hits)] == urls[:3]
    assert [hit.passage.uri for hit in at_most(1, hits)] == [urls[0], urls[2]]

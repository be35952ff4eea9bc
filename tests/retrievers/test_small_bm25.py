"""BM25 of a few texts against its formula, and on the sets on which the package's own fails."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.retrievers.small_bm25 import bm25_scores
from rag.text.stems import stems

WORDS = st.lists(st.sampled_from(["heron", "otter", "lynx", "fish", "river"]), max_size=8)
TEXTS = st.lists(WORDS.map(" ".join), max_size=6)


def reference(query, texts, k1=1.2, b=0.75):
    """Lucene's BM25, times the k1 + 1 of Okapi's numerator."""
    bags = [stems(text) for text in texts]
    mean = sum(map(len, bags)) / max(1, len(bags))
    scores = []
    for bag in bags:
        score = 0.0
        for term in stems(query):
            count = sum(term in each for each in bags)
            idf = log(1 + (len(bags) - count + 0.5) / (count + 0.5))
            times = bag.count(term)
            if times:
                length = k1 * (1 - b + b * len(bag) / mean)
                score += idf * times * (k1 + 1) / (times + length)
        scores.append(score)
    return scores


@given(query=WORDS.map(" ".join), texts=TEXTS)
def test_scores_are_those_of_the_formula(query, texts):
    assert bm25_scores(query, texts) == pytest.approx(reference(query, texts))


@given(query=st.text(max_size=20), texts=st.lists(st.text(max_size=40), max_size=5))
def test_a_score_is_above_zero_exactly_where_a_word_occurs(query, texts):
    sought = {*(stems(query, content_only=True) or stems(query))}
    scores = bm25_scores(query, texts)
    assert len(scores) == len(texts)
    for text, score in zip(texts, scores, strict=True):
        assert score >= 0
        assert (score > 0) == bool(sought & {*stems(text)})


@given(st.permutations(["red fox", "grey fox in snow", "owl", ""]))
def test_order_of_the_texts_changes_nothing(texts):
    by_text = dict(zip(texts, bm25_scores("grey fox", texts), strict=True))
    assert by_text["grey fox in snow"] > by_text["red fox"] > by_text["owl"] == by_text[""] == 0


@pytest.mark.parametrize("texts", [[], [""], ["", "?!"]])
def test_nothing_to_score(texts):
    assert bm25_scores("heron", texts) == [0.0] * len(texts)


def test_one_text():
    assert bm25_scores("heron", ["a heron waits"])[0] > 0


def test_a_word_in_half_of_the_texts_counts():
    heron, otter = bm25_scores("heron", ["heron", "otter"])
    assert heron > otter == 0


def test_a_rare_word_outranks_common_ones():
    texts = [
        "what is the river of the otter",
        "the otter and the river, what is it",
        "a salamander in Asturias",
    ]
    scores = bm25_scores("what is the salamander of the river", texts)
    assert scores.index(max(scores)) == 2


def test_function_words_count_where_there_is_nothing_else():
    assert bm25_scores("the who", ["The Who", "herons"])[0] > 0


def test_words_are_compared_by_their_stems():
    assert all(bm25_scores("Hérons fishing", ["a heron", "it fished"]))

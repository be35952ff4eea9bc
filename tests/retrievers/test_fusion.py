"""Fusion against its formulas, and what it keeps of each part."""

from collections import defaultdict
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.core.hits import Hit
from rag.retrievers.fusion import reciprocal_rank_fusion, weighted_fusion


def ranking(part, scores):
    """Hits of one part: scores by passage id, best first."""
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    return [
        Hit(Passage(each, "d", each, 0, len(each)), score, {part: score}, {part: rank})
        for rank, (each, score) in enumerate(ordered, start=1)
    ]


def ids(hits):
    return [hit.passage.id for hit in hits]


SCORES = st.dictionaries(
    st.sampled_from("abcdefghij"), st.floats(-5, 20, allow_nan=False).map(lambda x: round(x, 2))
)
FUSIONS = [reciprocal_rank_fusion, weighted_fusion, partial(weighted_fusion, weights=(0.8, 0.2))]


@given(dense=SCORES, lexical=SCORES)
def test_reciprocal_rank_fusion_is_its_formula(dense, lexical):
    rankings = [ranking("dense", dense), ranking("lexical", lexical)]
    expected = defaultdict(float)
    for each in rankings:
        for position, hit in enumerate(each):
            expected[hit.passage.id] += 1 / (60 + position + 1)
    fused = reciprocal_rank_fusion(rankings)
    assert {hit.passage.id: hit.score for hit in fused} == pytest.approx(expected)


@given(dense=SCORES, lexical=SCORES, weight=st.floats(0, 1))
def test_weighted_fusion_is_its_formula(dense, lexical, weight):
    expected = dict.fromkeys(dense | lexical, 0.0)
    for scores, share in ((dense, weight), (lexical, 1 - weight)):
        for each, score in scores.items():
            low, high = min(scores.values()), max(scores.values())
            expected[each] += share * ((score - low) / (high - low) if high > low else 1)
    fused = weighted_fusion(
        [ranking("dense", dense), ranking("lexical", lexical)], (weight, 1 - weight)
    )
    assert {hit.passage.id: hit.score for hit in fused} == pytest.approx(expected)


@pytest.mark.parametrize("fusion", FUSIONS)
@given(dense=SCORES, lexical=SCORES)
def test_keeps_every_passage_with_its_origins(fusion, dense, lexical):
    parts = {"dense": ranking("dense", dense), "lexical": ranking("lexical", lexical)}
    fused = fusion([*parts.values()])
    assert sorted(ids(fused)) == sorted(dense | lexical)
    assert fused == sorted(fused, key=lambda hit: (-hit.score, hit.passage.id))
    for hit in fused:
        origins = {
            part: each
            for part, hits in parts.items()
            for each in hits
            if each.passage.id == hit.passage.id
        }
        assert hit.scores == {part: each.score for part, each in origins.items()}
        assert hit.ranks == {part: each.ranks[part] for part, each in origins.items()}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_part_that_found_nothing_leaves_the_other(fusion):
    alone = ranking("lexical", {"a": 9.0, "b": 4.0, "c": 1.0})
    assert ids(fusion([[], alone])) == ["a", "b", "c"]
    assert fusion([[], []]) == []


def test_equal_scores_are_in_order_of_passage_ids():
    rankings = [ranking("dense", {"b": 1.0, "a": 0.5}), ranking("lexical", {"a": 3.0, "b": 2.0})]
    assert ids(reciprocal_rank_fusion(rankings)) == ["a", "b"]
    assert ids(weighted_fusion(rankings)) == ["a", "b"]


def test_agreement_beats_one_first_rank():
    rankings = [
        ranking("dense", {"a": 0.9, "b": 0.8, "c": 0.1}),
        ranking("lexical", {"d": 9.0, "b": 8.0, "c": 1.0}),
    ]
    assert ids(reciprocal_rank_fusion(rankings))[0] == "b"
    assert ids(weighted_fusion(rankings))[0] == "b"


def test_each_ranking_needs_a_weight():
    with pytest.raises(InputError, match="2 rankings need as many weights, not 3"):
        weighted_fusion([[], []], (1, 1, 1))

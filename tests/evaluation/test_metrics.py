"""Metrics against ir-measures, and by hand."""

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.core.errors import InputError
from rag.evaluation import Metric

DOCUMENTS = [f"d{number:02}" for number in range(30)]
GRADES = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-1, 3), min_size=1)
REFERENCES = {
    "nDCG": ir_measures.nDCG,
    "recall": ir_measures.R,
    "precision": ir_measures.P,
    "MRR": ir_measures.RR,
    "MAP": ir_measures.AP,
}


@settings(max_examples=40, deadline=None)
@given(
    judgements=st.dictionaries(st.sampled_from("ABCDE"), GRADES, min_size=1),
    # Few different scores, so that many tie.
    scores=st.dictionaries(
        st.sampled_from("ABCDE"),
        st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 6).map(float)),
    ),
    k=st.integers(1, 35),
)
def test_agrees_with_ir_measures(judgements, scores, k):
    # trec_eval ranks by score and, where scores are equal, by document id from z to a.
    rankings = {
        query: sorted(scores.get(query, {}), reverse=True, key=lambda each: (found[each], each))
        for query, found in ((query, scores.get(query, {})) for query in judgements)
    }
    for kind, reference in REFERENCES.items():
        # ir-measures has a cut-off reciprocal rank of its own, which breaks ties in another way.
        depth = 1000 if kind == "MRR" else k
        metric, measure = Metric(kind, depth), reference if kind == "MRR" else reference @ k
        expected = dict.fromkeys(judgements, 0.0)
        for value in ir_measures.iter_calc([measure], judgements, scores):
            expected[value.query_id] = value.value
        actual = {query: metric(rankings[query], grades) for query, grades in judgements.items()}
        assert actual == pytest.approx(expected), kind


def test_values_by_hand():
    grades = {"a": 3, "b": 1, "c": 0, "far": 1}
    ranking = ["x", "a", "c", "b"]
    # DCG = 3 / log2(3) + 1 / log2(5); the ideal order has gains 3, 1, 1.
    assert Metric.parse("nDCG@10")(ranking, grades) == pytest.approx(2.3234 / 4.1309, abs=1e-4)
    assert Metric.parse("recall@4")(ranking, grades) == pytest.approx(2 / 3)
    assert Metric.parse("recall@2")(ranking, grades) == pytest.approx(1 / 3)
    assert Metric.parse("precision@5")(ranking, grades) == pytest.approx(2 / 5)
    assert Metric.parse("MRR@10")(ranking, grades) == pytest.approx(1 / 2)
    assert Metric.parse("MRR@2")(ranking, grades) == pytest.approx(1 / 2)
    assert Metric.parse("MRR@1")(ranking, grades) == 0
    assert Metric.parse("MAP@10")(ranking, grades) == pytest.approx((1 / 2 + 2 / 4) / 3)


@pytest.mark.parametrize("kind", REFERENCES)
def test_nothing_relevant_or_nothing_found(kind):
    assert Metric(kind, 10)(["a"], {"a": 0}) == 0
    assert Metric(kind, 10)([], {"a": 1}) == 0


@pytest.mark.parametrize("name", ["nDCG@10", "recall@100", "MRR@1", "precision@5", "MAP@1000"])
def test_names(name):
    assert str(Metric.parse(name)) == str(Metric.parse(name.lower())) == name


@pytest.mark.parametrize("name", ["nDCG", "nDCG@0", "nDCG@-1", "F1@10", "nDCG@ten", "", "MRR@10 "])
def test_unknown_names(name):
    with pytest.raises(InputError, match="nDCG@k, recall@k, precision@k, MRR@k, MAP@k"):
        Metric.parse(name)

"""Runs in TREC's format."""

import ir_measures
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.errors import DataError, InputError
from rag.evaluation import Metric, RankedDocument, RetrievalDataset, Run

NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rankings=st.dictionaries(
        NAMES,
        st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False), min_size=1),
        min_size=1,
    )
)
def test_reads_what_it_wrote(tmp_path, rankings):
    run = Run(
        "hybrid",
        {
            query: sorted(
                (RankedDocument(*item) for item in scores.items()), key=lambda each: -each.score
            )
            for query, scores in rankings.items()
        },
    )
    run.write(tmp_path / "run.trec")
    assert Run.read(tmp_path / "run.trec") == run


def test_ir_measures_reads_it(tmp_path):
    run = Run("r", {"q": [RankedDocument("b", 2.5), RankedDocument("a", -1e-9)]})
    run.write(tmp_path / "run.trec")
    (first, second) = ir_measures.read_trec_run(str(tmp_path / "run.trec"))
    assert (first.query_id, first.doc_id, first.score) == ("q", "b", 2.5)
    assert (second.doc_id, second.score) == ("a", -1e-9)


def test_ranks_by_score_and_keeps_the_order_of_ties(tmp_path):
    (tmp_path / "run.trec").write_text("q Q0 a 1 0.5 x\nq Q0 b 2 0.7 x\nq Q0 c 3 0.5 x\n")
    run = Run.read(tmp_path / "run.trec")
    assert run.name == "x"
    assert [each.id for each in run.rankings["q"]] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("q Q0 a 1 0.5\n", 1, "expected 6"),
        ("q Q0 a 1 0.5 x\nq Q0 b 2 high x\n", 2, "high"),
        ("q Q0 a 1 0.5 x\nq Q0 a 2 0.4 x\n", 2, "a second time"),
    ],
)
def test_malformed_files(tmp_path, text, line, reason):
    (tmp_path / "run.trec").write_text(text)
    with pytest.raises(DataError, match=reason) as raised:
        Run.read(tmp_path / "run.trec")
    assert raised.value.line == line


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.trec"):
        Run.read(tmp_path / "none.trec")


@pytest.mark.parametrize(("query", "document"), [("q 1", "a"), ("q", "a\u00a0b"), ("q", "")])
def test_the_format_holds_no_white_space(tmp_path, query, document):
    with pytest.raises(InputError, match="white space"):
        Run("r", {query: [RankedDocument(document, 1.0)]}).write(tmp_path / "run.trec")
    assert not (tmp_path / "run.trec").exists()


def test_values_are_of_all_judged_queries():
    run = Run("r", {"q1": [RankedDocument("a", 1.0)], "unjudged": [RankedDocument("a", 1.0)]})
    judgements = {"q1": {"a": 1}, "q2": {"b": 1}}
    assert run.evaluate(judgements, Metric.parse("MRR@10")) == {"q1": 1.0, "q2": 0.0}


def test_the_candidates_of_a_data_set_are_a_run(tmp_path):
    dataset = RetrievalDataset(tmp_path, (), {}, {"q": ("b", "a", "c")})
    run = Run.of_candidates(dataset)
    assert run.rankings == {"q": [("b", 1.0), ("a", 1 / 2), ("c", 1 / 3)]}
    assert run.path == tmp_path / "candidates.jsonl"


@pytest.mark.parametrize(
    ("candidates", "reason"), [({}, "no query any"), ({"q": ("a", "b", "a")}, "query q .* twice")]
)
def test_candidates_that_are_no_run(tmp_path, candidates, reason):
    with pytest.raises(DataError, match=rf"candidates\.jsonl: gives {reason}"):
        Run.of_candidates(RetrievalDataset(tmp_path, (), {}, candidates))

"""Evaluation of a retriever on a data set."""

from pathlib import Path

import ir_measures
import pytest

from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.evaluation import RankedDocument, RetrievalDataset, evaluate_retrieval, read_dataset
from rag.evaluation.datasets import Query
from rag.testing.retrievers import FixedRetriever

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def dataset():
    queries = (Query("q1", "red fox"), Query("q2", "grey wolf"), Query("q3", "nothing"))
    return RetrievalDataset(
        Path("zoo"), queries, {"q1": {"fox": 1}, "q2": {"wolf": 2, "fox": 1}, "q3": {"owl": 1}}
    )


def test_a_document_ranks_where_its_best_passage_does(dataset):
    wolf = [Passage(f"wolf#{n}", "wolf", "grey", 0, 4) for n in range(3)]
    fox = [Passage(f"fox#{n}", "fox", "red fox", 0, 7) for n in range(2)]
    retriever = FixedRetriever(
        results={"red fox": [wolf[1], fox[0], wolf[0], fox[1]], "grey wolf": wolf, "nothing": []}
    )
    report = evaluate_retrieval(dataset, retriever, ["MRR@10", "recall@5", "nDCG@1"])
    assert report.dataset == "zoo"
    assert report.run.name == "fixed"
    assert report.run.rankings == {
        "q1": [RankedDocument("wolf", 1.0), RankedDocument("fox", 0.5)],
        "q2": [RankedDocument("wolf", 1.0)],
        "q3": [],
    }
    assert report.values == {
        "MRR@10": {"q1": 0.5, "q2": 1.0, "q3": 0.0},
        "recall@5": {"q1": 1.0, "q2": 0.5, "q3": 0.0},
        "nDCG@1": {"q1": 0.0, "q2": 1.0, "q3": 0.0},
    }
    assert report.means == pytest.approx({"MRR@10": 0.5, "recall@5": 0.5, "nDCG@1": 1 / 3})
    assert report.queries_per_second == pytest.approx(3 / report.seconds)


def test_agrees_with_ir_measures_on_a_real_set(tmp_path):
    dataset = read_dataset(DATA / "nq")
    retriever = FixedRetriever(
        Passage(each.id, each.id, each.text, 0, len(each.text), title=each.title)
        for each in dataset.documents()
    )
    seen = []
    report = evaluate_retrieval(
        dataset, retriever, progress=lambda stage, done, total: seen.append((stage, done, total))
    )
    assert seen == [("searching", 64, 150), ("searching", 128, 150), ("searching", 150, 150)]

    # Scores that fall with the rank, so that nobody breaks a tie in another way.
    run = {
        query: {each.id: 1 / rank for rank, each in enumerate(ranking, start=1)}
        for query, ranking in report.run.rankings.items()
    }
    measures = {
        "nDCG@10": ir_measures.nDCG @ 10,
        "recall@100": ir_measures.R @ 100,
        "MRR@10": ir_measures.RR @ 10,
    }
    expected = ir_measures.calc_aggregate(measures.values(), dataset.judgements, run)
    assert report.means == pytest.approx({name: expected[each] for name, each in measures.items()})
    assert 0.2 < report.means["nDCG@10"] < 0.9


def test_an_unknown_metric_is_refused_before_the_search(dataset):
    retriever = FixedRetriever()
    with pytest.raises(InputError, match="accuracy"):
        evaluate_retrieval(dataset, retriever, ["accuracy@1"])
    assert retriever.queries == []

from dataclasses import replace

import pytest

from rag.core.documents import Document
from rag.core.errors import InputError
from rag.evaluation import Run
from rag.evaluation.runs import RankedDocument
from rag.rerankers.training import TrainingList, training_lists
from tests.rerankers.training.conftest import make_list

QUERIES = {"q1": "herons", "q2": "linkers", "q3": "nothing relevant"}
DOCUMENTS = {f"d{n}": Document(f"d{n}", f"text {n}", title=f"title {n}") for n in range(6)}


def run(name: str, **rankings: str) -> Run:
    return Run(
        name,
        {
            query: [RankedDocument(f"d{digit}", 1.0 / rank) for rank, digit in enumerate(digits, 1)]
            for query, digits in rankings.items()
        },
    )


FIRST_STAGE = run("bm25", q1="01234", q2="43210", q3="555").rankings | {
    "q3": run("bm25", q3="015").rankings["q3"]
}


def ids(each: TrainingList) -> list[str]:
    return [each.hits[place].passage.id for place in each.order]


def test_judged_passages_come_first_and_the_others_as_retrieved() -> None:
    judgements = {"q1": {"d3": 1, "d1": 2, "d5": 3}, "q2": {"d0": 1}, "q3": {"d4": 1}}
    lists, left_out = training_lists(QUERIES, FIRST_STAGE, DOCUMENTS, judgements)
    assert [ids(each) for each in lists] == [
        ["d1", "d3", "d0", "d2", "d4"],
        ["d0", "d4", "d3", "d2", "d1"],
    ]
    assert [each.query for each in lists] == ["herons", "linkers"]
    assert left_out == 1
    pairs = zip(lists[0].hits, lists[0].grades, strict=True)
    grades = {hit.passage.id: grade for hit, grade in pairs}
    assert grades == {"d0": 0, "d1": 2, "d2": 0, "d3": 1, "d4": 0}


def test_a_teacher_puts_what_the_first_stage_found_in_its_order() -> None:
    teacher = run("teacher", q1="42", q2="5013")
    lists, left_out = training_lists(QUERIES, FIRST_STAGE, DOCUMENTS, teacher.rankings, size=4)
    # d4 is not among the first four of q1; what the teacher has not ranked follows as retrieved.
    assert [ids(each) for each in lists] == [["d2", "d0", "d1", "d3"], ["d1", "d3", "d4", "d2"]]
    assert left_out == 1


def test_passages_are_what_the_first_stage_found() -> None:
    (each,), _ = training_lists(QUERIES, {"q1": FIRST_STAGE["q1"]}, DOCUMENTS, {"q1": {"d3": 1}})
    hit = each.hits[each.order[0]]
    assert hit.passage.text == "text 3"
    assert hit.passage.label == "title 3"
    assert (hit.score, hit.ranks) == (1 / 4, {"retrieved": 4})


def test_a_seed_decides_what_the_model_is_shown_first() -> None:
    def shown(seed: int) -> list[list[str]]:
        lists, _ = training_lists(
            QUERIES, FIRST_STAGE, DOCUMENTS, {"q1": {"d3": 1}, "q2": {"d3": 1}}, seed=seed
        )
        return [[hit.passage.id for hit in each.hits] for each in lists]

    assert shown(1) == shown(1)
    assert len({str(shown(seed)) for seed in range(5)}) > 1
    first = {each[0] for seed in range(40) for each in shown(seed)}
    assert first == {"d0", "d1", "d2", "d3", "d4"}


@pytest.mark.parametrize(
    ("options", "queries", "documents", "reason"),
    [
        ({"size": 1}, QUERIES, DOCUMENTS, "size is 1"),
        ({}, {}, DOCUMENTS, "query 'q1' is ranked but not given"),
        ({}, QUERIES, {}, "document 'd0' is ranked but not given"),
    ],
)
def test_what_cannot_be_used_is_refused(
    options: dict[str, int],
    queries: dict[str, str],
    documents: dict[str, Document],
    reason: str,
) -> None:
    with pytest.raises(InputError, match=reason):
        training_lists(queries, FIRST_STAGE, documents, {"q1": {"d1": 1}}, **options)


@pytest.mark.parametrize(
    ("grades", "reason"), [((1, 0), "3 hits but 2 grades"), ((1, 1, 1), "no grades .* differ")]
)
def test_lists_that_teach_nothing_are_refused(grades: tuple[int, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        replace(make_list((2, 1, 0)), grades=grades)

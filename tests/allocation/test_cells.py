import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.cells import CellTable
from rag.allocation.observations import Cell, Observation
from rag.core.allocations import Allocation
from rag.core.errors import InputError

BARE: Cell = ("DRAG", Allocation(0))
FIVE: Cell = ("DRAG", Allocation(5))
STEPS: Cell = ("IterDRAG", Allocation(5, 0, 3))


def observed(
    cell: Cell,
    query_id: str,
    em: float = 0.0,
    dataset: str = "hotpotqa",
    confidence: float | None = None,
) -> Observation:
    strategy, allocation = cell
    return Observation(
        dataset,
        strategy,
        allocation,
        query_id,
        {"em": em},
        input_tokens=100,
        output_tokens=7,
        calls=allocation.steps,
        confidence=confidence,
    )


def test_values_are_in_the_order_of_the_questions() -> None:
    rows = [observed(FIVE, "q2", 1.0, confidence=0.9), observed(FIVE, "q1"), observed(STEPS, "q1"),
            observed(STEPS, "q2", 0.5)]  # fmt: skip
    table = CellTable.gather(rows, "em")
    measured = table.datasets["hotpotqa"]
    assert list(measured) == [FIVE, STEPS]
    assert measured[FIVE].query_ids == measured[STEPS].query_ids == ("q1", "q2")
    assert measured[FIVE].values.tolist() == [0.0, 1.0]
    assert measured[FIVE].mean == 0.5
    assert measured[STEPS].values.tolist() == [0.0, 0.5]
    assert measured[STEPS].calls.tolist() == [3.0, 3.0]
    assert measured[FIVE].tokens.tolist() == [100.0, 100.0]
    assert measured[FIVE].output_tokens.tolist() == [7.0, 7.0]
    np.testing.assert_array_equal(measured[FIVE].confidences, [np.nan, 0.9])


@given(st.permutations([(cell, f"q{each}") for cell in (BARE, FIVE, STEPS) for each in range(3)]))
def test_the_order_of_observations_does_not_matter(order: list[tuple[Cell, str]]) -> None:
    values = {each: rank / 9 for rank, each in enumerate(sorted(order))}
    table = CellTable.gather([observed(*each, values[each]) for each in order], "em")
    for cell, measured in table.datasets["hotpotqa"].items():
        assert measured.values.tolist() == [values[cell, f"q{each}"] for each in range(3)]


def test_a_cell_that_lacks_questions_is_left_out() -> None:
    rows = [observed(cell, f"q{each}") for cell in (BARE, FIVE) for each in range(3)]
    rows += [observed(STEPS, f"q{each}") for each in range(2)]
    rows += [observed(STEPS, "p0", dataset="musique")]
    table = CellTable.gather(rows, "em")
    assert set(table.datasets["hotpotqa"]) == {BARE, FIVE}
    # Another data set has other questions.
    assert set(table.datasets["musique"]) == {STEPS}


def test_a_cell_of_other_questions_is_left_out() -> None:
    rows = [observed(cell, query_id) for cell in (BARE, FIVE) for query_id in ("q1", "q2", "q3")]
    rows += [observed(STEPS, query_id) for query_id in ("q1", "q2", "q4")]
    assert set(CellTable.gather(rows, "em").datasets["hotpotqa"]) == {BARE, FIVE}


def test_an_observation_made_again_replaces_the_first() -> None:
    table = CellTable.gather([observed(BARE, "q1", 0.0), observed(BARE, "q1", 1.0)], "em")
    assert table.datasets["hotpotqa"][BARE].values.tolist() == [1.0]


def test_what_cannot_be_gathered_is_refused() -> None:
    with pytest.raises(InputError, match="rag budget profile"):
        CellTable.gather([], "em")
    with pytest.raises(InputError, match="no metric 'f1'; it has em"):
        CellTable.gather([observed(BARE, "q1")], "f1")


def test_where_keeps_some_cells() -> None:
    rows = [observed(cell, "q1", dataset=name) for cell in (BARE, FIVE) for name in ("a", "b")]
    table = CellTable.gather(rows, "em")
    kept = table.where(lambda dataset, cell: dataset == "a" and cell == FIVE)
    assert {name: list(cells) for name, cells in kept.datasets.items()} == {"a": [FIVE]}
    assert kept.metric == "em"


@given(st.integers(1, 30), st.integers(0, 2**32))
def test_a_resampled_table_keeps_questions_together(questions: int, seed: int) -> None:
    rows = [
        observed(cell, f"q{each:02d}", (each + shift) / 100, dataset)
        for shift, cell in enumerate((BARE, FIVE, STEPS))
        for dataset in ("a", "b")
        for each in range(questions)
    ]
    table = CellTable.gather(rows, "em").resampled(np.random.default_rng(seed))
    for cells in table.datasets.values():
        drawn = cells[BARE].query_ids
        assert len(drawn) == questions
        for shift, cell in enumerate((BARE, FIVE, STEPS)):
            assert cells[cell].query_ids == drawn
            values = [(int(each[1:]) + shift) / 100 for each in drawn]
            assert cells[cell].values.tolist() == values


def test_data_sets_are_resampled_apart() -> None:
    rows = [observed(BARE, f"q{each:02d}", dataset=name) for each in range(30) for name in "ab"]
    table = CellTable.gather(rows, "em").resampled(np.random.default_rng(0))
    assert table.datasets["a"][BARE].query_ids != table.datasets["b"][BARE].query_ids

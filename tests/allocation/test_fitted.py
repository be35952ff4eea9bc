import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.allocation.fitted import FittedAllocation
from rag.allocation.generalisation import ANCHOR_CELLS
from rag.allocation.observations import Cell
from rag.core.allocations import Allocation
from rag.core.budgets import Budget
from rag.core.errors import BudgetTooSmall, InputError
from rag.core.usage import Prices
from rag.models.cost_model import CostModel
from tests.allocation.simulated import GRID, PASSAGES, observations, simulated

SMALL: list[Cell] = [cell for cell in GRID if cell[1].documents <= 5]
TABLE = simulated(16, cells=SMALL)
FITTED = FittedAllocation.fit(observations(TABLE))
FEW: list[Cell] = [("DRAG", Allocation(documents)) for documents in (0, 1, 2, 5)]
DATASETS = (*PASSAGES, None)


def unseen(dataset: str, anchors: list[Cell]) -> FittedAllocation:
    """Return a model of all data sets but one, of which it saw the anchors afterwards."""
    others = TABLE.where(lambda name, _: name != dataset)
    own = TABLE.where(lambda name, cell: name == dataset and cell in anchors)
    return FittedAllocation.fit(observations(others)).with_measured(observations(own))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "allocation.json"


@pytest.mark.parametrize("fitted", [FITTED, unseen("musique", list(ANCHOR_CELLS))])
def test_what_is_saved_predicts_and_plans_the_same(fitted: FittedAllocation, file: Path) -> None:
    fitted.save(file)
    again = FittedAllocation.load(file)
    assert again.model.metric == "F1"
    assert again.cells == fitted.cells
    for dataset in PASSAGES:
        assert again.model.predict(dataset, SMALL) == fitted.model.predict(dataset, SMALL)
        assert again.measured.predict(dataset, FEW[:2]) == fitted.measured.predict(dataset, FEW[:2])
    for dataset in DATASETS:
        assert again.tokens.needs(dataset, SMALL) == fitted.tokens.needs(dataset, SMALL)
        for tokens in (700, 3_000, 20_000):
            budget = Budget(tokens=tokens)
            assert again.plan(budget, dataset=dataset) == fitted.plan(budget, dataset=dataset)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 30_000), st.sampled_from(DATASETS))
def test_no_plan_exceeds_its_budget(tokens: int, dataset: str | None) -> None:
    with suppress(BudgetTooSmall):
        found = FITTED.plan(Budget(tokens=tokens), dataset=dataset)
        assert found.needs.largest <= tokens
        assert found.cell in FITTED.cells


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_is_said_to_fit_fits(dataset: str | None) -> None:
    with pytest.raises(BudgetTooSmall) as said:
        FITTED.plan(Budget(tokens=1), dataset=dataset)
    smallest = int(said.value.smallest["tokens"])
    found = FITTED.plan(Budget(tokens=smallest), dataset=dataset)
    assert said.value.fits == f"{found.strategy} {found.allocation}"
    with pytest.raises(BudgetTooSmall, match=f"smallest that something fits is {smallest}"):
        FITTED.plan(Budget(tokens=smallest - 1), dataset=dataset)


def test_seconds_and_money_are_limits_too() -> None:
    times = CostModel(overhead=0.1, computed=0.001)
    found = FITTED.plan(Budget(seconds=1.0), call_times=times, dataset="2wiki")
    assert 0 < (found.seconds or 0) <= 1
    found = FITTED.plan(Budget(cost=0.002), prices=Prices(1, 2), dataset="2wiki")
    assert 0 < (found.cost or 0) <= 0.002
    with pytest.raises(BudgetTooSmall, match=r"budget of 0\.05 seconds; .* 0\.1\d+ seconds"):
        FITTED.plan(Budget(seconds=0.05), call_times=times)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b'{"model": 1, "tokens": 2, "measured": 3}',
        b"SQLite format 3\0" + bytes(range(256)) * 100,
    ],
)
def test_a_file_of_something_else_is_named(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(
        InputError, match=r"is no allocation model: [^`]*`rag budget fit` makes"
    ) as said:
        FittedAllocation.load(file)
    assert str(file) in str(said.value)
    assert len(str(said.value)) < 1000


@pytest.mark.parametrize("part", ["model", "tokens", "measured"])
def test_a_part_that_is_damaged_is_named(part: str, file: Path) -> None:
    FITTED.save(file)
    parts = json.loads(file.read_text())
    file.write_text(json.dumps(parts | {part: {"hotpotqa": 1}}))
    with pytest.raises(InputError, match="is no allocation model"):
        FittedAllocation.load(file)
    file.write_text(json.dumps({name: parts[name] for name in parts if name != part}))
    with pytest.raises(InputError, match=f"KeyError: '{part}'"):
        FittedAllocation.load(file)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json is no allocation model: FileNotFoundError"):
        FittedAllocation.load(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"cannot be written: .*; name another file"):
        FITTED.save(tmp_path)


def test_cells_are_combinations_within_measured_ones() -> None:
    measured = [
        *(("DRAG", Allocation(*theta)) for theta in ((0, 0), (1, 4), (5, 1), (20, 0))),
        *(("Self-Ask", Allocation(*theta)) for theta in ((2, 0, 1), (2, 0, 3))),
    ]
    fitted = FittedAllocation.fit(observations(simulated(4, cells=measured)))
    assert fitted.cells == [
        *(("DRAG", Allocation(*each)) for each in ((0, 0), (0, 1), (0, 4), (1, 0), (1, 1), (1, 4))),
        *(("DRAG", Allocation(*each)) for each in ((5, 0), (5, 1), (20, 0))),
        *(("Self-Ask", Allocation(2, 0, steps)) for steps in (1, 3)),
    ]
    assert FITTED.cells == sorted(SMALL)


def test_a_cell_that_nothing_measured_may_be_planned() -> None:
    left_out = ("DRAG", Allocation(5, 1))
    fitted = FittedAllocation.fit(observations(TABLE.where(lambda _, cell: cell != left_out)))
    assert left_out in fitted.cells
    found = fitted.plan(Budget(), cells=[left_out], dataset="musique")
    (near,) = FITTED.tokens.needs("musique", [left_out])
    assert found.needs.tokens == pytest.approx(near.tokens, rel=0.05)
    assert found.prediction.low < found.prediction.mean < found.prediction.high


def test_anchors_of_a_new_data_set_are_enough_to_plan_for_it() -> None:
    fitted = unseen("musique", list(ANCHOR_CELLS))
    iterative = [cell for cell in fitted.cells if cell[0] == "IterDRAG"]
    found = fitted.plan(Budget(tokens=6_000), dataset="musique", cells=iterative)
    assert found.basis == "model"
    assert 0 < found.needs.tokens <= found.needs.largest <= 6_000
    assert set(fitted.tokens.datasets) == set(PASSAGES)
    known = FITTED.plan(Budget(tokens=6_000), dataset="musique", cells=iterative)
    assert found.needs.tokens == pytest.approx(known.needs.tokens, rel=0.5)
    assert fitted.plan(Budget(tokens=6_000)).needs.largest <= 6_000


def test_what_is_measured_again_replaces_what_was_known() -> None:
    cell = ("DRAG", Allocation(5))
    one = simulated(16, seed=1, cells=[cell])
    fitted = FITTED.with_measured(observations(one))
    (score,) = fitted.measured.predict("2wiki", [cell])
    assert score.mean == pytest.approx(one.datasets["2wiki"][cell].mean)
    assert len(fitted.model.scores) == len(FITTED.model.scores)


def test_a_model_that_cannot_be_relied_on_is_not_asked() -> None:
    table = simulated(8, cells=FEW).where(lambda name, cell: name == "2wiki" or cell in FEW[:2])
    fitted = FittedAllocation.fit(observations(table))
    assert fitted.model.why_not
    own, any_of_them = fitted.plan(Budget(), dataset="2wiki"), fitted.plan(Budget())
    for found in (own, any_of_them):
        assert found.basis == f"grid search: {fitted.model.why_not}"
    # Only the first two were measured on all data sets.
    assert own.cell == max(FEW, key=lambda cell: table.datasets["2wiki"][cell].mean)
    assert any_of_them.cell in FEW[:2]


def test_a_data_set_that_was_not_measured_is_refused() -> None:
    with pytest.raises(InputError, match="no data set 'nq' was measured, but hotpotqa, 2wiki, mus"):
        FITTED.plan(Budget(tokens=1000), dataset="nq")


def test_observations_without_the_metric_are_refused() -> None:
    with pytest.raises(InputError, match="no metric 'recall'; it has EM, F1, accuracy"):
        FittedAllocation.fit(observations(TABLE), "recall")
    with pytest.raises(InputError, match="there are no observations"):
        FITTED.with_measured([])

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.cells import CellTable, Measured
from rag.allocation.observations import Cell
from rag.allocation.tokens import Needs, TokenModel
from rag.core.allocations import Allocation
from rag.core.errors import InputError
from tests.allocation.simulated import DRAG, GRID, PASSAGES, simulated, true_tokens


def measured(tokens: Sequence[float], calls: float = 1, written: float = 4) -> Measured:
    count = len(tokens)
    ids = tuple(map(str, range(count)))
    ones = np.ones(count)
    return Measured(ids, ones, np.array(tokens), calls * ones, written * ones, ones)


def drag(documents: int, examples: int = 0) -> Cell:
    return "DRAG", Allocation(documents, examples)


def test_a_measured_cell_takes_what_was_measured() -> None:
    table = CellTable("em", {"a": {drag(1): measured([100, 200, 600], calls=2, written=7)}})
    assert TokenModel.fit(table).needs("a", [drag(1)]) == [Needs(300, 600, 2, 7)]
    assert TokenModel.fit(table, quantile=0.5).needs("a", [drag(1)])[0].largest == 200


def test_drag_by_hand() -> None:
    """50 + 100 k + 20 m + 110 m k tokens; the longest question takes a tenth more."""
    seen = {(0, 0): 50, (1, 0): 150, (4, 0): 450, (0, 2): 90, (2, 2): 730, (4, 1): 910}
    cells = {drag(*each): measured([0.9 * t, t, 1.1 * t]) for each, t in seen.items()}
    (found,) = TokenModel.fit(CellTable("em", {"a": cells})).needs("a", [drag(10, 4)])
    assert found.tokens == pytest.approx(50 + 1000 + 80 + 4400, rel=0.01)
    assert found.largest == pytest.approx(1.1 * 5530, rel=0.01)
    assert found.calls == pytest.approx(1, rel=0.01)
    assert found.output_tokens == pytest.approx(4, rel=0.01)


def test_cells_left_out_are_found_again() -> None:
    table = simulated()
    half = set(np.random.default_rng(0).permutation(len(GRID))[::2])
    fitted = TokenModel.fit(table.where(lambda _, cell: GRID.index(cell) in half))
    for name, cells in table.datasets.items():
        for cell, needs in zip(cells, fitted.needs(name, list(cells)), strict=True):
            assert needs.tokens == pytest.approx(true_tokens(name, cell), rel=0.03)
            assert needs.largest == pytest.approx(cells[cell].tokens.max(), rel=0.03)
            assert needs.calls == pytest.approx(cell[1].steps, rel=0.03)


def test_a_strategy_with_two_cells_leans_on_the_others() -> None:
    ends = [("IterDRAG", Allocation(1)), ("IterDRAG", Allocation(5, 2, 5))]
    fitted = TokenModel.fit(simulated().where(lambda _, cell: cell in ends or cell[0] == "DRAG"))
    errors = [
        needs.tokens / true_tokens(name, cell) - 1
        for name in PASSAGES
        for cell, needs in zip(GRID, fitted.needs(name, GRID), strict=True)
        if cell[0] == "IterDRAG"
    ]
    assert np.median(np.abs(errors)) < 0.25


def test_a_data_set_with_few_cells_leans_on_the_others() -> None:
    few = {("DRAG", Allocation(0)), ("DRAG", Allocation(1))}
    table = simulated(cells=DRAG)
    fitted = TokenModel.fit(table.where(lambda name, cell: name != "2wiki" or cell in few))
    (found,) = fitted.needs("2wiki", [drag(20, 4)])
    others = [true_tokens(name, drag(20, 4)) for name in ("hotpotqa", "musique")]
    assert true_tokens("2wiki", drag(20, 4)) < found.tokens < max(others)


def test_what_is_measured_later_counts_as_if_measured_at_once() -> None:
    table = simulated(cells=GRID[::4])
    cells = GRID[:24:8]
    first = table.where(lambda name, _: name != "2wiki")
    later = table.where(lambda name, cell: name == "2wiki" and cell in cells)
    both = table.where(lambda name, cell: name != "2wiki" or cell in cells)
    found = TokenModel.fit(first).with_measured(later)
    assert sorted(found.datasets) == sorted(table.datasets)
    for each, same in zip(
        found.needs("2wiki", GRID), TokenModel.fit(both).needs("2wiki", GRID), strict=True
    ):
        assert each.largest == pytest.approx(same.largest)


def test_any_data_set_takes_the_mean_and_at_most_the_largest() -> None:
    table = CellTable("em", {
        "a": {drag(1): measured([100, 300])}, "b": {drag(1): measured([400, 600])},
    })  # fmt: skip
    model = TokenModel.fit(table)
    for unseen in (None, "c"):
        assert model.needs(unseen, [drag(1)]) == [Needs(350, 600, 1, 4)]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(1, 5), st.integers(0, 10**6)),
        min_size=1,
        max_size=8,
    ),
    st.tuples(st.integers(10, 20), st.integers(0, 4), st.integers(1, 5)),
)
def test_more_of_anything_never_takes_less(
    rows: list[tuple[int, int, int, int]], theta: tuple[int, int, int]
) -> None:
    cells = {("S", Allocation(k, m, n)): measured([tokens]) for k, m, n, tokens in rows}
    model = TokenModel.fit(CellTable("em", {"a": cells}))
    k, m, n = theta
    small, *more = model.needs(
        "a", [("S", Allocation(*each)) for each in ((k, m, n), (k + 1, m, n), (k, m + 5, n))]
    )
    for each in more:
        assert each.tokens >= small.tokens * (1 - 1e-9)
        assert each.largest >= small.largest * (1 - 1e-9)


def test_what_cannot_be_told_is_refused() -> None:
    model = TokenModel.fit(CellTable("em", {"a": {drag(1): measured([100])}}))
    with pytest.raises(InputError, match="no cell of IRCoT was measured, only of DRAG"):
        model.needs("a", [("IRCoT", Allocation(1))])
    with pytest.raises(InputError, match="no cell was measured"):
        TokenModel.fit(CellTable("em", {}))
    with pytest.raises(InputError, match=r"1\.5 is no quantile"):
        TokenModel.fit(simulated(cells=DRAG[:2]), quantile=1.5)


def test_a_saved_model_says_the_same() -> None:
    model = TokenModel.fit(simulated(cells=GRID[::3]), quantile=0.9)
    same = TokenModel.from_json(json.loads(json.dumps(model.as_json())))
    for name in (*PASSAGES, None):
        assert same.needs(name, GRID) == model.needs(name, GRID)
    assert same.quantile == 0.9


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"quantile": "most"}, "quantile"), ({"measured": {"a": [{"strategy": "DRAG"}]}}, "needs"),
     ({"forms": {"DRAG": {"a": [[1.0]]}}}, "reshape"), ({"forms": 1}, "forms"),
     ({"forms": {"DRAG": {}}}, "not of the measured data sets"),
     ({"measured": {"a": [{"strategy": "DRAG", "allocation": {"documents": -1}}]}}, "-1 documents"),
    ],
)  # fmt: skip
def test_other_fields_are_refused(change: dict[str, object], reason: str) -> None:
    fields = TokenModel.fit(simulated(cells=DRAG[:4])).as_json()
    with pytest.raises(InputError, match=f"(?s)no token model: .*{reason}.*fit one anew"):
        TokenModel.from_json({**fields, **change})

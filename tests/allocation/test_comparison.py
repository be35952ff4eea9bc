import pytest

from rag.allocation.comparison import fit_published, fit_published_by_strategy
from rag.allocation.generalisation import (
    ANCHOR_CELLS,
    held_out_cells,
    held_out_dataset,
    longer_budgets,
    random_half,
)
from rag.allocation.published import PublishedModel
from rag.allocation.regret import log_budgets, relative
from tests.allocation.simulated import GRID, simulated

TABLE = simulated(noise=0)
BUDGETS = log_budgets(TABLE)


def test_data_sets_with_anchors_only_are_not_fitted_to() -> None:
    seen = TABLE.where(lambda name, cell: name != "2wiki" or cell in ANCHOR_CELLS)
    found = fit_published(seen)
    others = PublishedModel.fit(TABLE.where(lambda name, _: name != "2wiki"))
    assert (found.a, found.b, found.cells) == (others.a, others.b, others.cells)
    assert found.predict("2wiki", GRID) == others.with_dataset(
        "2wiki", seen.datasets["2wiki"]
    ).predict("2wiki", GRID)


def test_each_strategy_has_its_own_model() -> None:
    own = PublishedModel.fit(TABLE, {"IterDRAG"}).predict("musique", GRID[-3:])
    found = fit_published_by_strategy(TABLE).predict("musique", [GRID[0], *GRID[-3:]])
    assert found[1:] == own
    assert found[0] == PublishedModel.fit(TABLE, {"DRAG"}).predict("musique", GRID[:1])[0]


@pytest.mark.parametrize("fit", [fit_published, fit_published_by_strategy])
def test_the_published_form_goes_through_all_experiments(fit) -> None:
    assert held_out_cells(TABLE, fit).r2 > 0.5
    for regrets in (
        held_out_dataset(TABLE, fit, BUDGETS),
        longer_budgets(TABLE, fit, 2500, BUDGETS[-4:]),
        random_half(TABLE, fit, BUDGETS, seeds=[0]),
    ):
        assert 0 <= relative(regrets) < 0.2

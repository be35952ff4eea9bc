"""Measures only the cells that plans need to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag.allocation.active import next_cells, starting_cells
from rag.allocation.cells import CellTable
from rag.allocation.model import AllocationModel
from rag.allocation.observations import Cell
from rag.allocation.regret import log_budgets
from rag.allocation.store import ObservationStore
from rag.allocation.tokens import TokenModel
from rag.core.budgets import Budget, Meter, Reservation
from rag.core.extras import require
from rag.core.progress import Progress, silent
from rag.core.usage import Usage
from rag.evaluation.datasets import Query
from rag.evaluation.profiling import ProfileReport, profile
from rag.pipelines.base import Pipeline


def profile_actively(
    dataset: str,
    queries: Sequence[Query],
    pipeline: Callable[[Cell], Pipeline],
    grid: Sequence[Cell],
    store: ObservationStore,
    *,
    metric: str,
    cells: int,
    budget: Budget = Budget(),
    progress: Progress = silent,
) -> ProfileReport:
    """Measure some cells of a grid, each where it improves plans most for its tokens.

    The first cells are those that a model cannot do without (`starting_cells`). Before each further
    one the model is fitted anew, to these and to the other data sets in the store, and says which
    is worth most (`next_cells`).

    Args:
        dataset: The data set's name.
        queries: Its questions, with accepted answers.
        pipeline: Makes the pipeline of a cell.
        grid: The cells that plans may use.
        store: Where observations go.
        metric: The metric that plans are made for.
        cells: How many cells of the grid to measure.
        budget: What this run may use, over all.
        progress: Told of the cells that are measured.

    Raises:
        InputError: A question has no accepted answers.
        MissingExtra: The extra `analysis` is not installed.
    """
    require("scipy", extra="analysis", needed_for="choosing cells")  # before time is spent
    meter = Meter(budget)
    tried: list[Cell] = []
    total = ProfileReport(0, 0, {}, "", Usage())
    while len(tried) < cells and not total.stopped:
        progress("measuring cells", len(tried), cells)
        chosen = _most_useful(dataset, grid, store, metric, tried)
        if chosen is None:
            break
        tried.append(chosen)
        left = meter.allowance()
        rest = Budget(left.tokens, left.calls, left.seconds, left.cost)
        report = profile(dataset, queries, pipeline, [chosen], store, budget=rest)
        meter.settle(Reservation(), report.usage, "profile")
        total = ProfileReport(
            total.measured + report.measured,
            total.known + report.known,
            {**total.failed, **report.failed},
            report.stopped,
            meter.used,
        )
    progress("measuring cells", len(tried), cells)
    return total


def _most_useful(
    dataset: str, grid: Sequence[Cell], store: ObservationStore, metric: str, tried: Sequence[Cell]
) -> Cell | None:
    """Return the cell to measure next; None if all were tried."""
    untried = [cell for cell in grid if cell not in tried]
    start = [cell for cell in starting_cells(grid) if cell in untried]
    if start or not untried:
        return start[0] if start else None
    # What an earlier run measured counts once its turn has come: so each run chooses alike.
    seen = [each for each in store if each.dataset != dataset or each.cell in tried]
    table = CellTable.gather(seen, metric) if seen else CellTable(metric, {})
    measured = table.datasets.get(dataset, {})
    if len(measured) < 2:  # the others failed, and no model is fitted to so few
        return untried[0]
    candidates = [cell for cell in grid if cell in measured or cell in untried]
    model, tokens = AllocationModel.fit(table), TokenModel.fit(table)
    return next_cells(model, table, candidates, tokens, log_budgets(table), dataset)[0]

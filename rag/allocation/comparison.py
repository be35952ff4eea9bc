"""The published form as a fit that other fits can be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rag.allocation.cells import CellTable
from rag.allocation.generalisation import ANCHOR_CELLS
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction, Predictor
from rag.allocation.published import PublishedModel


@dataclass(frozen=True, slots=True)
class ByStrategy:
    """A predictor for each strategy.

    Args:
        predictors: By the strategy's name.
    """

    predictors: Mapping[str, Predictor]

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        """Return what each cell is expected to score."""
        return [self.predictors[cell[0]].predict(dataset, [cell])[0] for cell in cells]


def fit_published(table: CellTable, strategies: Set[str] | None = None) -> PublishedModel:
    """Fit the published form; of data sets with anchors only, take their informativeness.

    Args:
        table: What was measured.
        strategies: Whose cells to fit, pooled; all without it.
    """
    anchored = {name for name, cells in table.datasets.items() if set(cells) <= set(ANCHOR_CELLS)}
    model = PublishedModel.fit(table.where(lambda name, _: name not in anchored), strategies)
    for name in sorted(anchored):
        model = model.with_dataset(name, table.datasets[name])
    return model


def fit_published_by_strategy(table: CellTable) -> ByStrategy:
    """Fit the published form to each strategy by itself, so that strategies may cross."""
    strategies = {strategy for cells in table.datasets.values() for strategy, _ in cells}
    return ByStrategy({each: fit_published(table, {each}) for each in sorted(strategies)})

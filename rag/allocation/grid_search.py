"""What was measured, as a prediction: what a grid search goes by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rag.allocation.cells import CellTable, Floats
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction
from rag.core.allocations import Allocation
from rag.core.errors import InputError


@dataclass(frozen=True, slots=True)
class GridSearch:
    """Predicts the means that were measured, and nothing of cells that were not.

    This is how arXiv 2410.04343, section 3.1, finds its best allocations, and what a model of them
    has to be compared with.

    Args:
        scores: Measured means by data set and cell. Their intervals are 1.96 standard errors wide
            either way, as if two more questions had been asked and one of them answered: a few
            questions with the same outcome are no certainty.
    """

    scores: Mapping[str, Mapping[Cell, Prediction]]

    @classmethod
    def fit(cls, table: CellTable) -> GridSearch:
        """Take the means of a table."""
        return cls({}).with_measured(table)

    def with_measured(self, table: CellTable) -> GridSearch:
        """Return the grid search over these cells and more; they replace the same ones."""
        scores = {name: dict(cells) for name, cells in self.scores.items()}
        for name, cells in table.datasets.items():
            found = {cell: _score(each.values) for cell, each in cells.items()}
            scores[name] = {**scores.get(name, {}), **found}
        return GridSearch(scores)

    def measured(self, dataset: str | None, cells: Sequence[Cell]) -> list[Cell]:
        """Return those of some cells that were measured of a data set.

        Of one without measurements, or None, they are the cells that all data sets have.
        """
        known = [self.scores[name] for name in self._standing_for(dataset)]
        return [cell for cell in cells if all(cell in scores for scores in known)]

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        """Return the means of cells; of a data set without measurements those over all data sets.

        Raises:
            InputError: A cell was not measured.
        """
        missing = set(cells) - set(self.measured(dataset, cells))
        if missing:
            strategy, allocation = min(missing)
            raise InputError(
                f"{strategy} {allocation} was not measured on {dataset}; a grid search chooses "
                "among measured cells only"
            )
        known = [self.scores[name] for name in self._standing_for(dataset)]
        return [averaged([scores[cell] for scores in known]) for cell in cells]

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads, in types that JSON has."""
        return {
            name: [
                {"strategy": strategy, "allocation": asdict(allocation), "score": asdict(score)}
                for (strategy, allocation), score in scores.items()
            ]
            for name, scores in self.scores.items()
        }

    @classmethod
    def from_json(cls, fields: object) -> GridSearch:
        """Return the grid search that `as_json` gave these fields of.

        Raises:
            InputError: They are none.
        """
        try:
            saved = _SAVED.validate_python(fields)
        except (ValidationError, InputError) as error:
            raise InputError(f"no measured scores: {error}; measure them anew") from error
        return cls(
            {
                name: {(row.strategy, row.allocation): row.score for row in rows}
                for name, rows in saved.items()
            }
        )

    def _standing_for(self, dataset: str | None) -> Sequence[str]:
        return list(self.scores) if dataset is None or dataset not in self.scores else [dataset]


@dataclass(frozen=True, slots=True)
class _Row:
    strategy: str
    allocation: Allocation
    score: Prediction


_SAVED = TypeAdapter(dict[str, list[_Row]])


def averaged(predictions: Sequence[Prediction]) -> Prediction:
    """Return the mean of predictions, as if they were all wrong in the same direction."""
    count = len(predictions)
    return Prediction(
        sum(each.mean for each in predictions) / count,
        sum(each.low for each in predictions) / count,
        sum(each.high for each in predictions) / count,
    )


def _score(values: Floats) -> Prediction:
    mean = float(values.mean())
    two_more = np.append(values, (0.0, 1.0))
    margin = 1.96 * float(two_more.std(ddof=1)) / math.sqrt(len(two_more))
    return Prediction(mean, max(0.0, mean - margin), min(1.0, mean + margin))

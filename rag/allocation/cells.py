"""Observations of one metric, gathered by data set and cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rag.allocation.observations import Cell, Observation
from rag.core.errors import InputError

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one cell, question by question.

    Args:
        query_ids: The questions, sorted.
        values: The metric, shape (questions,).
        tokens: Input tokens, shape (questions,).
        calls: Calls of the model, shape (questions,).
        output_tokens: Tokens written, shape (questions,).
        confidences: How likely the model found its answers, NaN where not known.
    """

    query_ids: tuple[str, ...]
    values: Floats
    tokens: Floats
    calls: Floats
    output_tokens: Floats
    confidences: Floats

    @property
    def mean(self) -> float:
        """Mean of the metric."""
        return float(self.values.mean())

    def at(self, positions: npt.NDArray[np.intp]) -> Measured:
        """Return the questions at some positions; one that comes twice counts twice."""
        return Measured(
            tuple(self.query_ids[position] for position in positions),
            self.values[positions],
            self.tokens[positions],
            self.calls[positions],
            self.output_tokens[positions],
            self.confidences[positions],
        )


@dataclass(frozen=True, slots=True)
class CellTable:
    """The measured cells of each data set.

    Args:
        metric: Name of the metric.
        datasets: By data set and cell what was measured.
    """

    metric: str
    datasets: Mapping[str, Mapping[Cell, Measured]]

    @classmethod
    def gather(cls, observations: Iterable[Observation], metric: str) -> CellTable:
        """Gather observations.

        A cell is taken up once all questions of its data set were answered at it: of a profile
        that was interrupted, the cell under way is left out, so that all means are over the same
        questions.

        Raises:
            InputError: There is nothing to gather, or an observation lacks the metric.
        """
        rows: dict[str, dict[Cell, dict[str, Observation]]] = defaultdict(lambda: defaultdict(dict))
        for each in observations:
            if metric not in each.metrics:
                known = ", ".join(sorted(each.metrics))
                raise InputError(f"an observation has no metric '{metric}'; it has {known}")
            rows[each.dataset][each.cell][each.query_id] = each
        if not rows:
            raise InputError("there are no observations; `rag budget profile` makes some")
        return cls(metric, {name: _whole(cells, metric) for name, cells in rows.items()})

    def where(self, keep: Callable[[str, Cell], bool]) -> CellTable:
        """Return the table of some cells: those that `keep(dataset, cell)` is true of."""
        kept = {
            name: {cell: each for cell, each in cells.items() if keep(name, cell)}
            for name, cells in self.datasets.items()
        }
        return CellTable(self.metric, {name: cells for name, cells in kept.items() if cells})

    def resampled(self, rng: np.random.Generator) -> CellTable:
        """Return a bootstrap sample over questions: one draw a data set, for all its cells."""
        sampled = {}
        for name, cells in self.datasets.items():
            count = len(next(iter(cells.values())).query_ids)
            drawn = rng.integers(0, count, count)
            sampled[name] = {cell: each.at(drawn) for cell, each in cells.items()}
        return CellTable(self.metric, sampled)


def _whole(cells: Mapping[Cell, Mapping[str, Observation]], metric: str) -> dict[Cell, Measured]:
    asked = max(cells.values(), key=len).keys()
    return {
        cell: _measured([rows[query_id] for query_id in sorted(rows)], metric)
        for cell, rows in sorted(cells.items())
        if rows.keys() == asked
    }


def _measured(rows: list[Observation], metric: str) -> Measured:
    def column(value: Callable[[Observation], float]) -> Floats:
        return np.array([value(row) for row in rows], dtype=np.float64)

    return Measured(
        tuple(row.query_id for row in rows),
        column(lambda row: row.metrics[metric]),
        column(lambda row: row.input_tokens),
        column(lambda row: row.calls),
        column(lambda row: row.output_tokens),
        column(lambda row: np.nan if row.confidence is None else row.confidence),
    )

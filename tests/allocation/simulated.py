"""Measurements of a made-up model, whose true scores are known."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from rag.allocation.cells import CellTable, Measured
from rag.allocation.observations import Cell, Observation
from rag.allocation.predictions import Prediction
from rag.core.allocations import Allocation

DRAG = [("DRAG", Allocation(k, m)) for k, m in product((0, 1, 2, 5, 10, 20), (0, 1, 2, 4))]
ITER_DRAG = [
    ("IterDRAG", Allocation(*theta)) for theta in product((1, 2, 5), (0, 1, 2), (1, 2, 3, 5))
]
GRID: list[Cell] = DRAG + ITER_DRAG

PASSAGES = {"hotpotqa": 130, "2wiki": 100, "musique": 160}
"""Tokens of a passage."""


def true_score(dataset: str, cell: Cell) -> float:
    """Rises in documents and declines again; steps help, and most where much was asked for."""
    strategy, allocation = cell
    level = {"hotpotqa": 0.30, "2wiki": 0.22, "musique": 0.12}[dataset]
    k, m, n = allocation.documents, allocation.examples, allocation.steps
    read = level + 0.13 * np.log1p(k) - 0.025 * np.log1p(k) ** 2 + 0.02 * np.log1p(m)
    return float(read if strategy == "DRAG" else read - 0.06 + 0.09 * np.log(n))


def true_tokens(dataset: str, cell: Cell) -> float:
    """Each call reads the worked examples, and the passages of the steps before it."""
    _, allocation = cell
    k, m, n = allocation.documents, allocation.examples, allocation.steps
    shots = m * (50 + k * PASSAGES[dataset])
    calls = [60 + shots + step * k * PASSAGES[dataset] for step in range(1, n + 1)]
    return float(sum(calls))


def simulated(
    questions: int = 40, seed: int = 0, cells: Sequence[Cell] = GRID, noise: float = 1.0
) -> CellTable:
    """Return a table of 0/1 values; with `noise` 0 all questions have the true score."""
    rng = np.random.default_rng(seed)
    datasets = {}
    for name in PASSAGES:
        hardness = rng.normal(size=questions)
        longer = rng.uniform(0.9, 1.1, size=questions)
        datasets[name] = {cell: _measured(rng, name, cell, hardness, longer, noise)
                          for cell in cells}  # fmt: skip
    return CellTable("em", datasets)


def _measured(
    rng: np.random.Generator,
    dataset: str,
    cell: Cell,
    hardness: np.ndarray,
    longer: np.ndarray,
    noise: float,
) -> Measured:
    count = len(hardness)
    # A normal number with correlation 0.7 between the cells of a question, as a rank from 0 to 1.
    drawn = np.sqrt(0.7) * hardness + np.sqrt(0.3) * rng.normal(size=count)
    rank = (1 + np.vectorize(math.erf)(drawn / np.sqrt(2))) / 2
    score = true_score(dataset, cell)
    values = np.where(rank < score, 1.0, 0.0) if noise else np.full(count, score)
    calls = np.full(count, float(cell[1].steps))
    return Measured(
        tuple(f"q{number:03d}" for number in range(count)),
        values,
        np.round(true_tokens(dataset, cell) * longer),
        calls,
        5 * calls,
        np.full(count, np.nan),
    )


class Truth:
    """A predictor that knows."""

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        return [Prediction(*[true_score(dataset, cell)] * 3) for cell in cells]


def observations(table: CellTable) -> list[Observation]:
    """Return a table as single observations, its values standing for all metrics."""
    return [
        Observation(
            dataset,
            *cell,
            query_id,
            dict.fromkeys(("EM", "F1", "accuracy"), float(each.values[place])),
            input_tokens=int(each.tokens[place]),
            output_tokens=int(each.output_tokens[place]),
            calls=int(each.calls[place]),
        )
        for dataset, cells in table.datasets.items()
        for cell, each in cells.items()
        for place, query_id in enumerate(each.query_ids)
    ]

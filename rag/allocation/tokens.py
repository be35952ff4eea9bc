"""What a cell takes of a question: tokens and calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, TypeAlias

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rag.allocation.cells import CellTable, Floats, Measured
from rag.allocation.observations import Cell
from rag.core.allocations import Allocation
from rag.core.errors import InputError
from rag.core.extras import require

_PULL = 0.03
"""Weight of what a form is expected to be, against a measured cell's 1."""

_Row: TypeAlias = tuple[Floats, tuple[float, ...]]
"""Terms of a measured cell, shape (12,), and its needs."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a cell takes of a question.

    Args:
        tokens: Input tokens over all calls, the mean over questions.
        largest: The most of them over questions, or the model's quantile of them.
        calls: Calls of the model, the mean.
        output_tokens: Tokens written over all calls, the mean.
    """

    tokens: float
    largest: float
    calls: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class TokenModel:
    """What cells take: measured where they were, else by a form fitted to those that were.

    The form is a sum of the terms 1, k, m and m k, since each of m worked examples brings k
    documents of its own; each of the terms also comes times n and n squared, since every step may
    read again what the steps before it have added. No coefficient is below 0, so nothing gets
    cheaper as an allocation grows. A strategy of one step is the form's case n = 1.

    Args:
        quantile: The share of questions that take at most the `largest`; 1 is the constraint of
            arXiv 2410.04343, section 3.1: no question may take more than the budget.
        measured: What was measured, by data set and cell.
        forms: Coefficients by strategy and data set, shape (4 needs, 12 terms).
    """

    quantile: float
    measured: Mapping[str, Mapping[Cell, Needs]]
    forms: Mapping[str, Mapping[str, Floats]]

    @classmethod
    def fit(cls, table: CellTable, quantile: float = 1.0) -> TokenModel:
        """Fit the forms by least squares of the relative errors.

        Where a data set's cells leave a strategy's form open, it is as for all data sets together;
        where these leave it open, too, it is as for all strategies together.

        Raises:
            InputError: The quantile is none, or nothing was measured.
            MissingExtra: The extra `analysis` is not installed.
        """
        if not 0 <= quantile <= 1:
            raise InputError(f"{quantile} is no quantile; it is from 0 to 1")
        if not table.datasets:
            raise InputError("no cell was measured; `rag budget profile` measures some")
        return cls(quantile, {}, {}).with_measured(table)

    def with_measured(self, table: CellTable) -> TokenModel:
        """Return the model fitted to more cells, measured anew or of a new data set.

        They replace what was known of the same cells.

        Raises:
            MissingExtra: The extra `analysis` is not installed.
        """
        measured = {name: dict(cells) for name, cells in self.measured.items()}
        for name, cells in table.datasets.items():
            found = {cell: _needs(each, self.quantile) for cell, each in cells.items()}
            measured[name] = {**measured.get(name, {}), **found}
        return TokenModel(self.quantile, measured, _forms(measured))

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that cells were measured of."""
        return tuple(self.measured)

    def needs(self, dataset: str | None, cells: Sequence[Cell]) -> list[Needs]:
        """Return what cells take of a question, in their order.

        Args:
            dataset: The question's data set. With one that was not measured, or None, the question
                may be of any measured data set: the needs are means over them, and the `largest`
                is the largest of theirs.
            cells: The cells.

        Raises:
            InputError: No cell of a strategy was measured.
        """
        names = self.datasets if dataset is None or dataset not in self.measured else (dataset,)
        return [_of_any([self._of(name, cell) for name in names]) for cell in cells]

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads, in types that JSON has."""
        return {
            "quantile": self.quantile,
            "measured": {
                name: [
                    {"strategy": strategy, "allocation": asdict(allocation), "needs": asdict(needs)}
                    for (strategy, allocation), needs in cells.items()
                ]
                for name, cells in self.measured.items()
            },
            "forms": {
                strategy: {name: form.tolist() for name, form in forms.items()}
                for strategy, forms in self.forms.items()
            },
        }

    @classmethod
    def from_json(cls, fields: object) -> TokenModel:
        """Return the model that `as_json` gave these fields of.

        Raises:
            InputError: They are no token model.
        """
        try:
            saved = _SAVED.validate_python(fields)
            forms = {
                strategy: {name: np.array(form).reshape(4, 12) for name, form in each.items()}
                for strategy, each in saved.forms.items()
            }
            if any(each.keys() != saved.measured.keys() for each in forms.values()):
                raise InputError("its forms are not of the measured data sets")
        except (ValidationError, ValueError, InputError) as error:
            raise InputError(f"no token model: {error}; fit one anew") from error
        measured = {
            name: {(row.strategy, row.allocation): row.needs for row in rows}
            for name, rows in saved.measured.items()
        }
        return cls(saved.quantile, measured, forms)

    def _of(self, dataset: str, cell: Cell) -> Needs:
        measured = self.measured[dataset].get(cell)
        if measured is not None:
            return measured
        strategy, allocation = cell
        if strategy not in self.forms:
            known = ", ".join(self.forms)
            raise InputError(
                f"no cell of {strategy} was measured, only of {known}; measure a small and a "
                "large one with `rag budget profile`"
            )
        return Needs(*(self.forms[strategy][dataset] @ _terms(allocation)).tolist())


@dataclass(frozen=True, slots=True)
class _SavedCell:
    strategy: str
    allocation: Allocation
    needs: Needs


@dataclass(frozen=True, slots=True)
class _Saved:
    quantile: float
    measured: dict[str, list[_SavedCell]]
    forms: dict[str, dict[str, list[list[float]]]]


_SAVED = TypeAdapter(_Saved)


def _needs(measured: Measured, quantile: float) -> Needs:
    return Needs(
        float(measured.tokens.mean()),
        float(np.quantile(measured.tokens, quantile)),
        float(measured.calls.mean()),
        float(measured.output_tokens.mean()),
    )


def _of_any(needs: Sequence[Needs]) -> Needs:
    mean = np.mean([astuple(each) for each in needs], axis=0).tolist()
    return Needs(mean[0], max(each.largest for each in needs), mean[2], mean[3])


def _terms(allocation: Allocation) -> Floats:
    k, m, n = allocation.documents, allocation.examples, allocation.steps
    return np.outer((1, n, n**2), (1, k, m, m * k)).ravel().astype(np.float64)


def _forms(measured: Mapping[str, Mapping[Cell, Needs]]) -> dict[str, dict[str, Floats]]:
    """Return coefficients by strategy and data set, shape (4 needs, 12 terms)."""
    rows: dict[str, dict[str, list[_Row]]] = defaultdict(lambda: {name: [] for name in measured})
    for name, cells in measured.items():
        for (strategy, allocation), needs in cells.items():
            rows[strategy][name].append((_terms(allocation), astuple(needs)))
    of_strategy = {
        strategy: [row for each in datasets.values() for row in each]
        for strategy, datasets in rows.items()
    }
    usual = _fitted([row for each in of_strategy.values() for row in each], np.zeros((4, 12)))
    forms = {}
    for strategy, datasets in sorted(rows.items()):
        shared = _fitted(of_strategy[strategy], usual)
        forms[strategy] = {name: _fitted(each, shared) for name, each in datasets.items()}
    return forms


def _fitted(rows: Sequence[_Row], expected: Floats) -> Floats:
    """Return the coefficients that explain rows, near what is expected where they leave it open."""
    optimize = require("scipy.optimize", extra="analysis", needed_for="fitting a token model")
    if not rows:
        return expected
    terms = np.array([each for each, _ in rows])
    needs = np.array([each for _, each in rows])
    found = []
    for values, near in zip(needs.T, expected, strict=True):
        # A need of nothing at all has no relative error; it is fitted as it is.
        size = np.where(values > 0, values, 1.0)
        relative = terms / size[:, None]
        # The terms are of very different size; a pull is to weigh as much in each of them.
        scale = np.linalg.norm(relative, axis=0)
        scale[scale == 0] = 1
        solution, _ = optimize.nnls(
            np.vstack([relative / scale, _PULL * np.eye(len(near))]),
            np.concatenate([values / size, _PULL * scale * near]),
        )
        found.append(solution / scale)
    return np.array(found)

"""All that planning needs, fitted to one profile and kept in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path

from rag.allocation.cells import CellTable
from rag.allocation.grid_search import GridSearch
from rag.allocation.model import AllocationModel
from rag.allocation.observations import Cell, Observation
from rag.allocation.planning import CallTimes, Plan, plan
from rag.allocation.tokens import TokenModel
from rag.core.allocations import Allocation
from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.usage import Prices

_NEXT_STEP = "`rag budget fit` makes one"


@dataclass(frozen=True)
class FittedAllocation:
    """What allocations score and take, and what was measured of them.

    Args:
        model: Predicts scores.
        tokens: Predicts tokens and calls.
        measured: The scores as they were measured, which plans go by where the model says that it
            cannot be relied on.
    """

    model: AllocationModel
    tokens: TokenModel
    measured: GridSearch

    @classmethod
    def fit(
        cls, observations: Iterable[Observation], metric: str = "F1", *, quantile: float = 1.0
    ) -> FittedAllocation:
        """Fit all parts to observations.

        Args:
            observations: Those of a profile, of one or more data sets.
            metric: The metric to plan for.
            quantile: The share of questions that the tokens of a plan have to suffice for; 1 as in
                arXiv 2410.04343, section 3.1.

        Raises:
            InputError: There are no observations, or they lack the metric.
            MissingExtra: The extra `analysis` is not installed.
        """
        table = CellTable.gather(observations, metric)
        return cls(
            AllocationModel.fit(table), TokenModel.fit(table, quantile), GridSearch.fit(table)
        )

    @property
    def cells(self) -> list[Cell]:
        """The cells to choose from: of each strategy all combinations of numbers measured.

        Each is, in all its numbers, within some measured cell: what was never reached, such as a
        prompt that is too long for the model's window, is not planned.
        """
        measured = {cell for scores in self.measured.scores.values() for cell in scores}
        cells: list[Cell] = []
        for strategy in sorted({strategy for strategy, _ in measured}):
            own = [astuple(allocation) for name, allocation in measured if name == strategy]
            numbers = (sorted(set(column)) for column in zip(*own, strict=True))
            cells += [
                (strategy, Allocation(*each))
                for each in product(*numbers)
                if any(_within(each, largest) for largest in own)
            ]
        return cells

    def plan(
        self,
        budget: Budget,
        *,
        dataset: str | None = None,
        cells: Sequence[Cell] | None = None,
        call_times: CallTimes | None = None,
        prices: Prices | None = None,
    ) -> Plan:
        """Return what to use for a question within a budget.

        Args:
            budget: What a question may use.
            dataset: The measured data set that the question is like; None for any of them.
            cells: The cells to choose from; `cells` of this object by default.
            call_times: Times of the model's calls, which a budget of seconds needs.
            prices: Its prices, which a budget of money needs.

        Raises:
            BudgetTooSmall: Nothing fits the budget.
            InputError: A limit cannot be checked, or the data set is not known.
        """
        known = self.tokens.datasets
        if dataset is not None and dataset not in known:
            raise InputError(
                f"no data set '{dataset}' was measured, but {', '.join(known)}; measure some cells "
                "of it, or name none"
            )
        return plan(
            self.model,
            self.tokens,
            self.cells if cells is None else cells,
            budget,
            dataset=dataset,
            fallback=self.measured,
            seconds_of=call_times,
            prices=prices,
        )

    def with_measured(self, observations: Iterable[Observation]) -> FittedAllocation:
        """Return the same after more was measured, such as a few cells of a new data set.

        The kernel of the model stays as it was fitted.

        Args:
            observations: Those of the further cells; they replace what was known of the same ones.

        Raises:
            InputError: There are no observations, or they lack the model's metric.
            MissingExtra: The extra `analysis` is not installed.
        """
        table = CellTable.gather(observations, self.model.metric)
        return FittedAllocation(
            self.model.with_measured(table),
            self.tokens.with_measured(table),
            self.measured.with_measured(table),
        )

    def save(self, path: Path) -> None:
        """Write all of it as JSON.

        Raises:
            InputError: The file cannot be written.
        """
        parts = {
            "model": self.model.as_json(),
            "tokens": self.tokens.as_json(),
            "measured": self.measured.as_json(),
        }
        try:
            path.write_text(json.dumps(parts) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error}; name another file") from error

    @classmethod
    def load(cls, path: Path) -> FittedAllocation:
        """Read what `save` wrote.

        Raises:
            InputError: The file is missing, or something else.
        """
        try:
            parts = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                AllocationModel.from_json(parts["model"]),
                TokenModel.from_json(parts["tokens"]),
                GridSearch.from_json(parts["measured"]),
            )
        except (OSError, ValueError, TypeError, KeyError, InputError) as error:
            # The repr of a decoding error would hold the whole file.
            reason = error if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            raise InputError(f"{path} is no allocation model: {reason}; {_NEXT_STEP}") from error


def _within(numbers: Sequence[int], largest: Sequence[int]) -> bool:
    return all(number <= most for number, most in zip(numbers, largest, strict=True))

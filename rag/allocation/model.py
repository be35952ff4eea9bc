"""The allocation model: a Gaussian process over the cells of all data sets."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from rag.allocation.cells import CellTable, Floats
from rag.allocation.dataset_statistics import ANCHORS
from rag.allocation.kernel import Kernel, Place
from rag.allocation.marginal_likelihood import most_likely_kernel
from rag.allocation.observations import Cell
from rag.allocation.posterior import Posterior
from rag.allocation.predictions import Prediction
from rag.allocation.r2 import r2
from rag.allocation.scores import Noise, Score, scores_of
from rag.core.errors import InputError

_QUANTILE = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class AllocationModel:
    """What cells score, as a Gaussian process that saw the mean scores of some of them.

    Where the form of arXiv 2410.04343, section 5 (`PublishedModel`) is weak, it goes further:

    - Scores may decline again as documents, examples or steps are added.
    - Each strategy has a surface of its own; how much strategies and data sets are alike is fitted
      (`Kernel`). So the best strategy may change with the budget.
    - The length of prompts has an effect of its own.
    - Each prediction has an interval. It covers that only some questions were asked, the same ones
      for all cells (`Noise`), and that a cell may not have been measured itself. It does not cover
      how sure the fitted parameters of the kernel are.
    - Of a data set that it was not fitted to, a few measured cells give the level; the surface is
      that of the other data sets, as far as those cells agree.

    Far from what was measured, predictions return towards the level of the data set and intervals
    widen. Where there is a reason not to rely on them, `why_not` says so, and the best of the
    measured cells is the better choice.

    Args:
        metric: Name of the metric.
        mean: What data sets are expected to score before they are measured.
        kernel: How alike cells are.
        noise: How far means are from the truth.
        scores: What was measured.
    """

    metric: str
    mean: Annotated[float, Field(ge=0, le=1)]
    kernel: Kernel
    noise: Noise
    scores: Annotated[tuple[Score, ...], Field(min_length=1)]

    @classmethod
    def fit(cls, table: CellTable) -> AllocationModel:
        """Fit a model to measured cells; the same cells give the same model.

        Raises:
            InputError: No data set has two questions and two cells, or values are not between 0
                and 1.
            MissingExtra: The extra `analysis` is not installed.
        """
        scores = scores_of(table)
        noise = Noise.estimate(table)
        means = np.array([each.mean for each in scores])
        mean = float(means.mean())
        kernel = most_likely_kernel(_places(scores), means - mean, noise.covariance(scores))
        return cls(table.metric, mean, kernel, noise, scores)

    def with_measured(self, table: CellTable) -> AllocationModel:
        """Return the model after it saw more cells, measured anew or of a new data set.

        They replace what was known of the same cells. Kernel and noise stay.

        Raises:
            InputError: The table is of another metric, or values are not between 0 and 1.
        """
        if table.metric != self.metric:
            raise InputError(f"the model predicts {self.metric}; the table has {table.metric}")
        known = {(each.dataset, each.cell): each for each in (*self.scores, *scores_of(table))}
        return replace(self, scores=tuple(known.values()))

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        """Return what each cell is expected to score over all questions like those measured.

        Raises:
            InputError: No cell of the data set was measured.
        """
        if dataset not in self.datasets:
            known = ", ".join(f"'{name}'" for name in self.datasets)
            raise InputError(
                f"the model knows the data sets {known}, not '{dataset}'; measure a few cheap "
                "cells of it and give them to `with_measured`"
            )
        places = [(dataset, cell) for cell in cells]
        across = self.kernel.covariance(places, _places(self.scores))
        deviations, errors = self._posterior.expect(across, self.kernel.total)
        ends = self.mean + deviations + _QUANTILE * np.outer([0, -1, 1], errors)
        return [Prediction(*each) for each in np.clip(ends, 0, 1).T.tolist()]

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """The data sets of which something was measured."""
        return tuple(dict.fromkeys(each.dataset for each in self.scores))

    @cached_property
    def cell_r2(self) -> float:
        """How well each measured cell is predicted from all others.

        The share of the variance of cells around the mean of their data set that is explained; 0
        for no better than that mean, below 0 for worse. The parameters of the kernel stay those
        that were fitted to all cells.
        """
        return self._r2([[position] for position in range(len(self.scores))])

    @cached_property
    def transfer_r2(self) -> float | None:
        """How well each data set is predicted from the others and its own anchors.

        Anchors are its cells with one step and at most one document or example. The share is that
        of `cell_r2`, over all cells but them. None where no data set can be predicted in this way.
        """
        anchored = {each.dataset for each in self.scores if each.allocation in ANCHORS}
        folds = defaultdict(list)
        for position, each in enumerate(self.scores):
            if each.dataset in anchored and each.allocation not in ANCHORS:
                folds[each.dataset].append(position)
        return self._r2([*folds.values()]) if folds and len(self.datasets) > 1 else None

    @cached_property
    def why_not(self) -> str:
        """Why to choose by what was measured alone, not by predictions; '' if by these."""
        count, least = len(self.scores), len(fields(Kernel)) + 1
        if count < least:
            return f"only {count} cells were measured; it takes {least} to judge the model"
        if self.cell_r2 <= 0:
            return (
                "cells that are left out are predicted no better than by the mean of their data "
                f"set (cross-validated R2 {self.cell_r2:.2f}); measure more questions or cells"
            )
        return ""

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads, in types that JSON has."""
        values: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, values: object) -> AllocationModel:
        """Return the model that `as_json` gave these values of; it predicts the same.

        Raises:
            InputError: They are no such model.
        """
        try:
            return _ADAPTER.validate_python(values)
        except ValidationError as error:
            raise InputError(f"not a fitted allocation model: {error}") from error

    @cached_property
    def _posterior(self) -> Posterior:
        places = _places(self.scores)
        covariance = self.kernel.covariance(places, places)
        return Posterior.of(covariance, self.noise.covariance(self.scores), self._deviations)

    @cached_property
    def _deviations(self) -> Floats:
        return np.array([each.mean for each in self.scores]) - self.mean

    def _r2(self, folds: Sequence[Sequence[int]]) -> float:
        """Return the R2 of the cells of all folds, predicted from those outside of theirs."""
        held_out = np.concatenate(folds)
        measured = self._deviations[held_out]
        predicted = np.concatenate([self._posterior.without(fold) for fold in folds])
        names = [self.scores[position].dataset for position in held_out]
        share = r2(names, measured.tolist(), predicted.tolist())
        return 0.0 if math.isnan(share) else share


_ADAPTER = TypeAdapter(AllocationModel)


def _places(scores: Sequence[Score]) -> list[Place]:
    return [(each.dataset, each.cell) for each in scores]

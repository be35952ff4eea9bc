"""The compute-allocation model of arXiv 2410.04343, in the form in which it was published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import astuple, dataclass, field, replace
from statistics import NormalDist
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from rag.allocation.cells import CellTable, Floats, Measured
from rag.allocation.dataset_statistics import (
    STAND_IN,
    DatasetStatistics,
    informativeness,
    mean_scores,
)
from rag.allocation.least_squares import fit_line, fit_sigmoid
from rag.allocation.observations import Cell
from rag.allocation.predictions import Prediction
from rag.allocation.sigmoid import PUBLISHED_SIGMOID, Sigmoid
from rag.core.errors import InputError

Form: TypeAlias = Literal["sigmoidal", "uninformed", "linear", "quadratic"]

PARAMETERS = ("c", "a_k", "a_m", "a_n", "b_k", "b_m", "q_k", "q_m", "q_n")
EPSILON = 0.01

# A form has this many of the parameters, the first ones; the others are 0.
_FREE: dict[Form, int] = {"sigmoidal": 6, "uninformed": 4, "linear": 6, "quadratic": 9}
_QUANTILE = NormalDist().inv_cdf(0.975)

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Three: TypeAlias = tuple[_Finite, _Finite, _Finite]
_Row = Annotated[tuple[_Finite, ...], Field(min_length=9, max_length=9)]
_Covariance = Annotated[tuple[_Row, ...], Field(min_length=9, max_length=9)]


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """Scores from sigma^-1(P) = (a + b * i)^T log(theta + 0.01) + c; arXiv 2410.04343, section 5.

    theta = (k, m, n) are the documents, worked examples and steps of an allocation. i = (i_doc,
    i_shot, 0) says how much a document and a worked example help on the data set. P is the score,
    z-normalised per data set: by the mean and standard deviation of all its fitted cells, whatever
    their strategies. The logarithm is the natural one, which the paper leaves open and its
    constants suggest.

    The form has no term for the strategy: strategies differ by n and by their informativeness, or
    each gets a model of its own. And it rises in k, m and n wherever their slopes a + b * i are
    above 0. So it represents no decline, and what it finds best is always at the end of the budget
    or of the grid.

    Args:
        a: Slopes in log k, log m and log n.
        b: What i_doc adds to the first of them, and i_shot to the second.
        c: The constant.
        squares: Slopes in the squared logarithms; 0 in all forms but the quadratic one.
        sigmoid: The curve sigma; None for a straight line.
        datasets: The data sets that can be predicted, by name.
        covariance: Of the estimates, in the order of `PARAMETERS`; 0 for parameters that were
            given.
        cells: How many cells it was fitted to.
        clipped: How many of them score outside the range of sigma.
        mse: Mean squared error over them, of z-normalised scores; None if it was not fitted.
    """

    a: _Three
    b: tuple[_Finite, _Finite]
    c: _Finite
    squares: _Three = (0.0, 0.0, 0.0)
    sigmoid: Sigmoid | None = PUBLISHED_SIGMOID
    datasets: Mapping[str, DatasetStatistics] = field(default_factory=dict)
    covariance: _Covariance = ((0.0,) * 9,) * 9
    cells: int = 0
    clipped: int = 0
    mse: _Finite | None = None

    @classmethod
    def fit(
        cls,
        table: CellTable,
        strategies: Set[str] | None = None,
        *,
        form: Form = "sigmoidal",
        refit_sigmoid: bool = False,
    ) -> PublishedModel:
        """Fit a model to measured cells by ordinary least squares of sigma^-1(P).

        Scores outside the range of sigma are moved inside, see `Sigmoid.inverse`. No cell is left
        out; for the R2 and MSE that it reports, the paper leaves out peaks and valleys. A term that
        the cells do not tell apart from those before it gets the coefficient 0: log n where all
        steps are 1, or b with one data set and strategy.

        Args:
            table: What was measured, with the cells that `informativeness` needs.
            strategies: Whose cells to fit, pooled; all without it.
            form: "sigmoidal" is the model. The others are those that the paper compares it with:
                "uninformed" has no b, "linear" no sigma, and "quadratic" has the squared logarithms
                beside the others, which is one reading of what the paper says of it.
            refit_sigmoid: Fit the ends of sigma's range, too, instead of keeping those published.
                The paper does not say how it found its curve. Here a, b, c and both ends together
                have the least squared error of P itself; steepness and shift stay, since a, b and
                c make up for any others.

        Raises:
            InputError: There are no such cells, or too few for the parameters; a data set lacks a
                cell that informativeness needs, or all its cells score the same.
            MissingExtra: Sigma is to be fitted and the extra `analysis` is not installed.
        """
        if refit_sigmoid and form == "linear":
            raise InputError("the linear form has no sigmoid to refit; choose another form")
        kept = table.where(lambda _, cell: strategies is None or cell[0] in strategies).datasets
        if not kept:
            asked = "any strategy" if strategies is None else _listed(strategies)
            raise InputError(f"no cell of {asked} was measured; `rag budget profile` measures some")
        datasets = {
            name: DatasetStatistics.measured(name, cells, table.datasets[name])
            for name, cells in kept.items()
        }
        terms = np.vstack([_terms(cells, datasets[name]) for name, cells in kept.items()])
        terms[:, _FREE[form] :] = 0
        z = np.concatenate(
            [(mean_scores(kept[name]) - each.mean) / each.sd for name, each in datasets.items()]
        )
        sigmoid = None if form == "linear" else PUBLISHED_SIGMOID
        estimate = fit_line(terms, z if sigmoid is None else sigmoid.inverse(z))
        if sigmoid is not None and refit_sigmoid:
            sigmoid, estimate = fit_sigmoid(terms, z, sigmoid, estimate)
        c, a_k, a_m, a_n, b_k, b_m, q_k, q_m, q_n = estimate.coefficients.tolist()
        model = cls(
            a=(a_k, a_m, a_n),
            b=(b_k, b_m),
            c=c,
            squares=(q_k, q_m, q_n),
            sigmoid=sigmoid,
            datasets=datasets,
            covariance=tuple(map(tuple, estimate.covariance.tolist())),
            cells=len(z),
            clipped=0 if sigmoid is None else int(sigmoid.clipped(z).sum()),
        )
        return replace(model, mse=float(np.mean((model._z_scores(terms) - z) ** 2)))

    def predict(self, dataset: str, cells: Sequence[Cell]) -> list[Prediction]:
        """Return what each cell is expected to score, in units of the metric.

        The interval is that of the fitted curve: the 95 % interval of its linear part, from the
        covariance of the estimates (delta method), carried through sigma. It takes the form for
        true and the residuals of cells for independent, so it is too narrow where scores stray from
        the form and cells share their questions.

        Raises:
            InputError: The data set is not known, or its informativeness for a strategy is not.
        """
        if dataset not in self.datasets:
            raise InputError(
                f"the model knows the data sets {_listed(self.datasets)}, not '{dataset}'; "
                "`with_dataset` adds it, given the cells that informativeness needs"
            )
        known = self.datasets[dataset]
        terms = _terms(cells, known)
        variances = np.einsum("ij,jk,ik->i", terms, np.array(self.covariance), terms)
        margins = _QUANTILE * np.sqrt(np.maximum(variances, 0))
        ends = (self._z_scores(terms, each) for each in (0.0, -margins, margins))
        scores = [known.mean + known.sd * z for z in ends]
        return [Prediction(*each) for each in np.transpose(scores).tolist()]

    def with_dataset(self, name: str, anchors: Mapping[Cell, Measured]) -> PublishedModel:
        """Return the model with a data set that it was not fitted to.

        Which allocation is best depends on the anchors through informativeness only. Mean and
        standard deviation over all cells, which scores in units of the metric need, are not known.
        They are set so that what the model expects of the anchors has the mean and the variance of
        what was measured, the latter as if one cell more had the fitted data sets' usual deviation.
        So three anchors low on the curve leave that deviation about as it is; many overrule it.

        Args:
            name: The data set's name.
            anchors: What was measured of it, with the cells that `informativeness` needs; more of
                them say more about mean and standard deviation.

        Raises:
            InputError: One of these is missing, or the model was fitted to no data set.
        """
        if not self.datasets:
            raise InputError("the model was fitted to no data set, so no deviation is usual")
        strategies = {strategy for strategy, _ in anchors} or {STAND_IN}
        unit = DatasetStatistics(0.0, 1.0, informativeness(name, anchors, strategies))
        expected, measured = self._z_scores(_terms(anchors, unit)), mean_scores(anchors)
        usual = np.mean([each.sd**2 for each in self.datasets.values()])
        count = len(measured)
        sd = np.sqrt((count * measured.var() + usual) / (count * expected.var() + 1))
        mean = measured.mean() - sd * expected.mean()
        added = DatasetStatistics(float(mean), float(sd), unit.informativeness)
        return replace(self, datasets={**self.datasets, name: added})

    @property
    def r2(self) -> float | None:
        """Share of the variance of z-normalised scores explained; None if it was not fitted."""
        return None if self.mse is None else 1 - self.mse  # the variance of z-scores is 1

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard error of each of `PARAMETERS`."""
        return dict(zip(PARAMETERS, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads, in types that JSON has."""
        fields: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return fields

    @classmethod
    def from_json(cls, fields: object) -> PublishedModel:
        """Return the model that `as_json` gave these fields of.

        Raises:
            InputError: They are no such model.
        """
        try:
            return _ADAPTER.validate_python(fields)
        except ValidationError as error:
            raise InputError(f"not a fitted allocation model: {error}") from error

    def _z_scores(self, terms: Floats, shift: Floats | float = 0.0) -> Floats:
        """Return sigma of the linear part, which is shifted first."""
        x: Floats = terms @ np.array([self.c, *self.a, *self.b, *self.squares]) + shift
        return x if self.sigmoid is None else self.sigmoid(x)


_ADAPTER = TypeAdapter(PublishedModel)


def _terms(cells: Iterable[Cell], known: DatasetStatistics) -> Floats:
    """Return what `PARAMETERS` are multiplied with, shape (cells, 9)."""
    rows = [(*astuple(theta), *known.gains(strategy)) for strategy, theta in cells]
    theta, gains = np.hsplit(np.array(rows, dtype=np.float64).reshape(-1, 5), [3])
    logs = np.log(theta + EPSILON)
    return np.hstack([np.ones((len(logs), 1)), logs, gains * logs[:, :2], logs**2])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)) or "none"

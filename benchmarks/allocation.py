"""How well allocation models predict and plan, from observation tables alone.

    python benchmarks/allocation.py OBSERVATIONS… [--metric F1] [--splits N]

OBSERVATIONS are files that `rag budget profile` or `rag budget export` wrote, of one language
model; those of `benchmarks/observations` are measured ones. No model is run: it takes a minute.

Compared are our model (a Gaussian process), the form of arXiv 2410.04343 (as published, pooled over
strategies; fitted to each strategy by itself; with a sigmoid fitted to the data; with linear
scores; without informativeness) and grid search, which knows the means that were measured and
nothing else.

- What each cell scored and took.
- R2 of cells that a fit has not seen, five folds, around the mean of each data set.
- Regret: the share of the oracle's metric that plans lose, over a log grid of budgets; on the same
  questions, and chosen on one half of the questions and valued on the other, mean of N splits (the
  best of many noisy means is too good to be true: on the other half it is not). For fits that saw a
  random half of the grid; only the anchors of the data set, and the others; only cells of at most
  half the largest budget, for budgets above.
- The share of the grid that active profiling measures until the regret stays at most 5 %.
- Questions that stop early: tokens saved, thresholds fitted to other questions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from rag.allocation.active import needed, replay_profile
from rag.allocation.cells import CellTable
from rag.allocation.comparison import fit_published, fit_published_by_strategy
from rag.allocation.escalation import replay
from rag.allocation.generalisation import (
    Fit,
    held_out_cells,
    held_out_dataset,
    longer_budgets,
    random_half,
)
from rag.allocation.grid_search import GridSearch
from rag.allocation.model import AllocationModel
from rag.allocation.observations import Cell, Observation
from rag.allocation.points import points_of
from rag.allocation.published import PublishedModel
from rag.allocation.regret import Regret, halves, log_budgets, regret, relative
from rag.cli.budget_fit import read_files
from rag.core.allocations import Allocation
from rag.core.errors import InputError

FITS: dict[str, Fit] = {
    "ours": AllocationModel.fit,
    "published": fit_published,
    "published, by strategy": fit_published_by_strategy,
    "grid search": GridSearch.fit,
}
FORMS = {
    "published": {},
    "sigmoid refitted": {"refit_sigmoid": True},
    "without informativeness": {"form": "uninformed"},
    "quadratic": {"form": "quadratic"},
    "linear scores": {"form": "linear"},
}
LADDERS: Sequence[Sequence[Cell]] = (
    (("DRAG", Allocation(1)), ("DRAG", Allocation(5))),
    (("DRAG", Allocation(2)), ("DRAG", Allocation(10))),
    (("DRAG", Allocation(2)), ("DRAG", Allocation(5, 1))),
    (("DRAG", Allocation(1, 1)), ("DRAG", Allocation(5, 3))),
    (("DRAG", Allocation(2, 1)), ("IterDRAG", Allocation(3, 2, 2))),
)


def main() -> None:
    """Print all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("observations", nargs="+", type=Path)
    parser.add_argument("--metric", default="F1", choices=("EM", "F1", "accuracy"))
    parser.add_argument("--splits", type=int, default=20)
    given = parser.parse_args()
    observations = list(read_files(given.observations))
    table = CellTable.gather(observations, given.metric)
    budgets = log_budgets(table)
    print(f"{given.metric}; budgets from {budgets[0]:,} to {budgets[-1]:,} tokens")
    for name, cells in table.datasets.items():
        questions = len(next(iter(cells.values())).query_ids)
        print(f"{name}: {len(cells)} cells, {questions} questions")
    print_cells(observations, table)
    print_forms(table)
    print_r2(table)
    print_regrets(table, budgets, given.splits)
    print_active(table, budgets, given.splits)
    print_confidences(observations, given.metric)
    print_escalations(observations, given.metric)


def print_cells(observations: Sequence[Observation], table: CellTable) -> None:
    """Print what each cell scored and took, and how many of all tokens were computed."""
    read = sum(each.input_tokens for each in observations)
    computed = sum(each.computed_tokens for each in observations)
    print(f"{read:,} tokens read, {computed:,} of them computed")
    for name, points in points_of(table).items():
        for each in sorted(points, key=lambda point: point.tokens):
            cell = " ".join(map(str, each.cell))
            print(
                f"  {name:10s} {cell:22s} {each.tokens:7,.0f} {each.score:.3f} ± {each.error:.3f}"
            )


def print_forms(table: CellTable) -> None:
    """Print how well forms of the published model fit, and the parameters of the first."""
    print("\nthe published form, all cells seen       R2     MSE   clipped")
    for name, options in FORMS.items():
        model = PublishedModel.fit(table, **options)
        print(f"  {name:36s} {model.r2:6.3f} {model.mse:7.3f} {model.clipped:6d}")
    model = PublishedModel.fit(table)
    print(f"  a = {model.a}, b = {model.b}, c = {model.c:.3f}")
    print(f"  standard errors {model.standard_errors}")


def print_r2(table: CellTable) -> None:
    """Print how well cells that were not seen are predicted."""
    print("\ncells not seen, five folds               R2")
    for name, fit in FITS.items():
        if name != "grid search":  # which predicts nothing that it has not seen
            try:
                print(f"  {name:36s} {held_out_cells(table, fit).r2:6.3f}")
            except InputError as error:
                print(f"  {name:36s} not to be had: {error}")


def print_regrets(table: CellTable, budgets: Sequence[int], splits: int) -> None:
    """Print what plans lose."""
    limit = budgets[-1] // 2
    above = [budget for budget in budgets if budget > limit]
    print("\nregret, share of the oracle's metric     same questions   other half")
    for name, fit in FITS.items():
        settings: dict[str, Callable[[int], list[Regret]]] = {
            "all cells seen": partial(_all_seen, table, fit, budgets),
            "half of the grid": lambda n, fit=fit: random_half(table, fit, budgets, splits=n),
            "a new data set": lambda n, fit=fit: held_out_dataset(table, fit, budgets, splits=n),
            f"above {limit:,} tokens": lambda n, fit=fit: longer_budgets(
                table, fit, limit, above, splits=n
            ),
        }
        for what, regrets in settings.items():
            try:
                same, other = relative(regrets(0)), relative(regrets(splits))
                print(f"  {name:22s} {what:22s} {same:10.1%} {other:12.1%}")
            except InputError as error:
                print(f"  {name:22s} {what:22s} not to be had: {error}")


def _all_seen(table: CellTable, fit: Fit, budgets: Sequence[int], splits: int) -> list[Regret]:
    found = []
    for chosen_on, valued_on in [halves(table, seed) for seed in range(splits)] or [(table, table)]:
        predictor = fit(chosen_on)
        for name in table.datasets:
            found += regret(predictor, chosen_on, name, budgets, valued_on=valued_on)
    return found


def print_active(table: CellTable, budgets: Sequence[int], splits: int) -> None:
    """Print how much of the grid has to be measured."""
    fit = AllocationModel.fit
    tables = [halves(table, seed) for seed in range(splits)]
    print("\nof the grid until the regret stays at most 5 %   cells   tokens")
    for name in table.datasets:
        replays = {
            "active, same questions": [replay_profile(table, name, fit, budgets)],
            "random, same questions": [
                replay_profile(table, name, fit, budgets, random_order=seed)
                for seed in range(splits)
            ],
            "active, other half": [
                replay_profile(seen, name, fit, budgets, valued_on=other) for seen, other in tables
            ],
            "random, other half": [
                replay_profile(seen, name, fit, budgets, random_order=seed, valued_on=other)
                for seed, (seen, other) in enumerate(tables)
            ],
        }
        for order, steps in replays.items():
            step = needed(steps)
            shares = "never" if step is None else f"{step.cells:5.0%} {step.tokens:8.0%}"
            print(f"  {name:20s} {order:24s} {shares}")


def print_confidences(observations: Sequence[Observation], metric: str) -> None:
    """Print how often a right answer has more of the model's confidence than a wrong one."""
    print("\na right answer is surer than a wrong one (area under the ROC curve)")
    for strategy in sorted({each.strategy for each in observations}):
        sure: dict[bool, list[float]] = {True: [], False: []}
        for each in observations:
            if each.strategy == strategy and each.confidence is not None:
                sure[each.metrics[metric] >= 0.5].append(each.confidence)
        pairs = [
            (right > wrong) + (right == wrong) / 2 for right in sure[True] for wrong in sure[False]
        ]
        print(f"  {strategy:20s} {fmean(pairs):.2f}" if pairs else f"  {strategy:20s} -")


def print_escalations(observations: Sequence[Observation], metric: str) -> None:
    """Print what stopping early saves."""
    print(f"\nstopping early, thresholds of other questions      {metric}   alone   tokens saved")
    for ladder in LADDERS:
        names = " then ".join(f"{strategy} {allocation}" for strategy, allocation in ladder)
        try:
            found = replay(observations, ladder, metric)
        except InputError:
            continue  # not all of its cells were measured
        print(
            f"  {names:46s} {found.metric:6.3f} {found.metric_of_last:6.3f} "
            f"(difference ± {1.96 * found.standard_error:.3f}) {found.tokens_saved:6.0%}"
        )


if __name__ == "__main__":
    main()

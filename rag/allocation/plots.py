"""Draws what allocations were measured to score, what is predicted, and what is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.allocation.cells import CellTable
from rag.allocation.figures import (
    COLOURS,
    Style,
    figure_at,
    legend_below,
    legend_entry,
    strategy_entries,
    styles,
    token_axis,
    wrapped,
)
from rag.allocation.frontier import frontier
from rag.allocation.points import Point, points_of
from rag.allocation.predictions import Prediction, Predictor
from rag.allocation.r2 import r2
from rag.core.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

    from rag.allocation.planning import Plan


def plot_scaling(table: CellTable, path: Path) -> None:
    """Draw the metric against the effective context length, a panel for each data set.

    Lines are Pareto frontiers: the best mean among the cells that read at most so many tokens, a
    mean over questions, too. The cells on them have bars of one standard error either way.

    Args:
        table: What was measured.
        path: The file; its ending says the format, such as .png or .svg.

    Raises:
        InputError: The table is empty, the format is not known, or the file cannot be written.
        MissingExtra: The extra `analysis` is not installed.
    """
    measured = _measured(table)
    every = [point for points in measured.values() for point in points]
    looks = styles(point.cell[0] for point in every)
    columns = min(3, len(measured))
    rows = math.ceil(len(measured) / columns)
    with figure_at(path, max(6.5, 3.7 * columns), 0.7 + 3.5 * rows) as figure:
        panels: list[Axes] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        frontiers: list[tuple[Axes, list[Point]]] = []
        for axes, (name, points) in zip(panels, measured.items(), strict=False):
            frontiers.append((axes, _draw_frontiers(axes, points, looks)))
            token_axis(axes, [point.tokens for point in every], "effective context length (tokens)")
            # No score is below 0; where all of them are 0, half of the panel would be.
            axes.set_ylim(bottom=max(-0.02, axes.get_ylim()[0]))
            axes.set_title(wrapped(name, 40), fontsize="medium")
        for axes in panels[: len(measured) : columns]:
            axes.set_ylabel(f"{table.metric} (± standard error)")
        for axes in panels[len(measured) :]:
            axes.remove()
        overall = legend_entry("best of all strategies", color="black", linewidth=0.8)
        legend_below(figure, [*strategy_entries(looks), overall])
        figure.draw_without_rendering()
        for axes, best in frontiers:
            _label(axes, best)


def plot_predictions(
    table: CellTable, predictor: Predictor, path: Path, *, title: str = ""
) -> None:
    """Draw what cells are predicted to score against what they were measured to score.

    Bars are the 95 % intervals of predictions, and one standard error over questions either way of
    what was measured. The title ends with the `r2`.

    Args:
        table: What was measured.
        predictor: What predicts its cells.
        path: The file; its ending says the format, such as .png or .svg.
        title: What is predicted, and from what.

    Raises:
        InputError: The table is empty, the predictor knows nothing of a cell, the format is not
            known, or the file cannot be written.
        MissingExtra: The extra `analysis` is not installed.
    """
    measured = _measured(table)
    looks = styles(point.cell[0] for points in measured.values() for point in points)
    colours = dict(zip(measured, cycle(COLOURS), strict=False))
    with figure_at(path, 6.5, 7) as figure:
        axes = figure.subplots()
        rows: list[tuple[str, float, float]] = []
        for name, points in measured.items():
            predictions = predictor.predict(name, [point.cell for point in points])
            for point, each in zip(points, predictions, strict=True):
                _compare(axes, point, each, Style(colours[name], looks[point.cell[0]].marker))
                rows.append((name, point.score, each.mean))
        explained = r2(*zip(*rows, strict=True))
        share = "" if math.isnan(explained) else f"R² {explained:.2f} within data sets"
        axes.set_title("\n".join(filter(None, [wrapped(title, 70), share])), fontsize="medium")
        ends = min(axes.dataLim.min) - 0.02, max(axes.dataLim.max) + 0.02
        axes.plot(ends, ends, color="black", linewidth=0.8, zorder=0)
        axes.set(xlim=ends, ylim=ends)
        axes.set_xlabel(f"measured {table.metric} (± standard error)")
        axes.set_ylabel(f"predicted {table.metric} (95 % interval)")
        axes.grid(alpha=0.25)
        datasets = [
            legend_entry(wrapped(name, 60), color=colour, linewidth=5)
            for name, colour in colours.items()
        ]
        strategies = strategy_entries(looks, color="grey", linestyle="")
        legend_below(figure, [*datasets, *strategies])


def plot_plans(plans: Sequence[tuple[int, Plan]], path: Path) -> None:
    """Draw what is chosen for each budget, and what it is expected to score.

    Args:
        plans: Budgets in input tokens, and the plan for each.
        path: The file; its ending says the format, such as .png or .svg.

    Raises:
        InputError: There are no plans, the format is not known, or the file cannot be written.
        MissingExtra: The extra `analysis` is not installed.
    """
    if not plans:
        raise InputError("there are no plans to draw; make some with `plan`")
    ordered = sorted(plans, key=lambda each: each[0])
    budgets = [budget for budget, _ in ordered]
    chosen = [plan for _, plan in ordered]
    looks = styles(plan.strategy for plan in chosen)
    each_look = [looks[plan.strategy] for plan in chosen]
    with figure_at(path, 6.5, 7) as figure:
        panels: list[Axes] = figure.subplots(4, 1, sharex=True, height_ratios=(1, 1, 1, 2)).tolist()
        for axes, letter, name in zip(
            panels, "kmn", ("documents", "examples", "steps"), strict=False
        ):
            numbers = [getattr(plan.allocation, name) for plan in chosen]
            # Few numbers occur: each gets as much room as its label needs.
            levels = sorted(set(numbers))
            _draw_steps(axes, budgets, [levels.index(number) for number in numbers], each_look)
            axes.set(ylabel=f"{name} {letter}", ylim=(-0.6, len(levels) - 0.4))
            axes.set_yticks(range(len(levels)), [str(level) for level in levels])
            token_axis(axes, budgets, "")
        axes = panels[-1]
        _draw_steps(axes, budgets, [plan.prediction.mean for plan in chosen], each_look)
        for budget, plan, look in zip(budgets, chosen, each_look, strict=True):
            axes.vlines(
                budget, plan.prediction.low, plan.prediction.high, look.colour, linewidth=0.7
            )
        axes.set_ylabel("expected score\n(95 % interval)")
        token_axis(axes, budgets, "budget (input tokens)")
        figure.align_ylabels()
        legend_below(figure, strategy_entries(looks, linestyle=""))


def _draw_frontiers(axes: Axes, points: Sequence[Point], looks: Mapping[str, Style]) -> list[Point]:
    """Draw a data set's cells with their frontiers, and return the one of all strategies."""
    for strategy, look in looks.items():
        own = [point for point in points if point.cell[0] == strategy]
        dots: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": ""}
        axes.plot(*_places(own), alpha=0.5, markersize=4, markeredgewidth=0, **dots)
        best = _draw_frontier(axes, own, color=look.colour, linewidth=1.8)
        axes.errorbar(*_places(best), [point.error for point in best], elinewidth=0.7, **dots)
    return _draw_frontier(axes, points, color="black", linewidth=0.8)


def _draw_frontier(axes: Axes, points: Sequence[Point], **look: Any) -> list[Point]:
    """Draw the frontier of cells up to the dearest of them, and return it."""
    best = [points[position] for position in frontier(*_places(points))]
    if best:
        tokens, scores = _places(best)
        dearest = max(point.tokens for point in points)
        axes.step([*tokens, dearest], [*scores, scores[-1]], where="post", **look)
    return best


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Name cells of a frontier where there is room: left above them is nothing but error bars."""
    taken: list[Bbox] = []
    for point in reversed(points):
        allocation = point.cell[1]
        label = axes.annotate(
            str(allocation).replace("=", ""),
            (point.tokens, point.score),
            xytext=(-4, 4),
            textcoords="offset points",
            horizontalalignment="right",
            fontsize=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
        label.set_in_layout(False)
        box = label.get_window_extent()
        if box.x0 < axes.bbox.x0 or box.count_overlaps(taken):
            label.remove()
        else:
            taken.append(box)


def _compare(axes: Axes, measured: Point, predicted: Prediction, look: Style) -> None:
    """Draw a cell's dot, with bars that are faint since there are many."""
    bars: dict[str, Any] = {"color": look.colour, "alpha": 0.3, "linewidth": 0.7}
    x, y = measured.score, predicted.mean
    axes.hlines(y, x - measured.error, x + measured.error, **bars)
    axes.vlines(x, predicted.low, predicted.high, **bars)
    dot: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    axes.plot(x, y, color=look.colour, marker=look.marker, **dot)


def _draw_steps(
    axes: Axes, budgets: Sequence[int], values: Sequence[float], looks: Sequence[Style]
) -> None:
    """Draw what holds from a budget to the next, with a dot for each."""
    axes.step(budgets, values, where="post", color="grey", linewidth=1)
    for budget, value, look in zip(budgets, values, looks, strict=True):
        axes.plot(budget, value, color=look.colour, marker=look.marker)


def _measured(table: CellTable) -> dict[str, list[Point]]:
    if not any(table.datasets.values()):
        raise InputError("there are no measured cells to draw; `rag budget profile` measures some")
    return points_of(table)


def _places(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.tokens for point in points], [point.score for point in points]

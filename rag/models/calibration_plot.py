"""Draws what a calibration measured and what its model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.core.errors import InputError
from rag.core.extras import require
from rag.models.calibration import OUTPUT_TOKENS, Calibration

# Told apart also by those who see few colours (Okabe and Ito's palette).
_COLOURS = ("#0072B2", "#E69F00", "#009E73")
_HELD_OUT = "#D55E00"
_TOLERANCE = 0.2


def plot_calibration(calibration: Calibration, path: Path) -> None:
    """Draw predicted against measured seconds, and seconds against the length of prompts.

    Args:
        calibration: What to draw.
        path: The file; its ending says the format, such as .png or .svg.

    Raises:
        InputError: The format is not known, or the file cannot be written.
        MissingExtra: The extra `analysis` is not installed.
    """
    require("matplotlib", extra="analysis", needed_for="plotting a calibration")
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    origin = calibration.model.origin
    if origin is not None:
        figure.suptitle(f"Time of a call: {origin.model} on {origin.machine}")
    left, right = figure.subplots(1, 2)
    _predicted(left, calibration)
    _by_length(right, calibration)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
        axes.grid(alpha=0.25, which="major")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error


def _predicted(axes: Any, calibration: Calibration) -> None:
    """Draw predicted against measured seconds."""
    for calls, name, colour, marker in (
        (calibration.fitted, "fitted", _COLOURS[0], "o"),
        (calibration.held_out, "held out", _HELD_OUT, "^"),
    ):
        _dots(
            axes,
            [call.seconds for call in calls],
            [
                calibration.model.predict(call.input_tokens, call.output_tokens, call.cached_tokens)
                for call in calls
            ],
            color=colour,
            marker=marker,
            label=f"{name}, {len(calls)} calls",
        )
    seconds = [call.seconds for call in (*calibration.fitted, *calibration.held_out)]
    ends = [min(seconds) / 1.3, max(seconds) * 1.3]
    low, high = ([end * (1 + sign * _TOLERANCE) for end in ends] for sign in (-1, 1))
    axes.fill_between(ends, low, high, color="grey", alpha=0.2, linewidth=0, label="within 20 %")
    axes.plot(ends, ends, color="black", linewidth=0.8)
    axes.legend(frameon=False)
    axes.set(xlabel="measured (s)", ylabel="predicted (s)", xlim=ends)
    if origin := calibration.model.origin:
        errors = f"median {origin.median_error:.1%}, 90th percentile {origin.p90_error:.1%}"
        axes.set_title(f"Relative error of calls held out: {errors}", fontsize="medium")


def _by_length(axes: Any, calibration: Calibration) -> None:
    """Draw seconds against prompt tokens, for calls of which next to nothing was cached."""
    calls = (*calibration.fitted, *calibration.held_out)
    lengths = [call.input_tokens for call in calls]
    step = (max(lengths) / min(lengths)) ** (1 / 100)
    line = [round(min(lengths) * step**power) for power in range(101)]
    for output, colour in zip(OUTPUT_TOKENS, _COLOURS, strict=True):
        seconds = [calibration.model.predict(tokens, output) for tokens in line]
        axes.plot(line, seconds, color=colour, label=str(output))
        shown = [
            call
            for call in calls
            if call.output_tokens == output and call.cached_tokens < 0.1 * call.input_tokens
        ]
        read = [call.input_tokens for call in shown]
        _dots(axes, read, [call.seconds for call in shown], color=colour, marker="o")
    axes.legend(frameon=False, title="output tokens", alignment="left")
    axes.set(xlabel="prompt tokens", ylabel="time (s)")
    axes.set_title("Prompts that are not cached: model (lines), calls (dots)", fontsize="medium")


def _dots(axes: Any, x: Sequence[float], y: Sequence[float], **style: Any) -> None:
    axes.plot(x, y, linestyle="", markersize=5, markeredgewidth=0, alpha=0.6, **style)

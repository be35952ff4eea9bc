"""How figures of allocations look, and how they are written."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.core.errors import InputError
from rag.core.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Told apart also by those who see few colours (Okabe and Ito's palette); black is for the rest.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7")
_MARKERS = "o^sDvP*"

# Those that are known look the same in all figures, whichever others are there.
_KNOWN = ("DRAG", "IterDRAG", "Self-Ask", "IRCoT", "Iter-RetGen")


@dataclass(frozen=True, slots=True)
class Style:
    """How a strategy looks.

    Args:
        colour: As in HTML.
        marker: Of matplotlib.
    """

    colour: str
    marker: str


def styles(strategies: Iterable[str]) -> dict[str, Style]:
    """Return a style for each strategy, in the order in which a legend names them."""
    given = set(strategies)
    names = [*_KNOWN, *sorted(given.difference(_KNOWN))]
    looks = zip(names, cycle(COLOURS), cycle(_MARKERS), strict=False)
    return {name: Style(colour, marker) for name, colour, marker in looks if name in given}


@contextmanager
def figure_at(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, and write it when the block ends; the same one makes the same bytes.

    Args:
        path: The file; its ending says the format, such as .png or .svg.
        width: In inches.
        height: In inches.

    Raises:
        InputError: The format is not known, or the file cannot be written.
        MissingExtra: The extra `analysis` is not installed.
    """
    matplotlib = require("matplotlib", extra="analysis", needed_for="drawing allocations")
    from matplotlib.figure import Figure

    # Names are no formulas. Text stays text: it can be searched, and the reader's fonts set it.
    settings = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "rag"}
    ending = path.suffix.removeprefix(".")
    metadata = {"Date": None} if ending == "svg" else None
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        try:
            figure.savefig(path, format=ending, dpi=150, metadata=metadata)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {error}") from error


def wrapped(name: str, width: int) -> str:
    """Return a name in lines of at most so many characters."""
    return "\n".join(textwrap.wrap(name, width)) or name


def token_axis(axes: Axes, tokens: Sequence[float], label: str) -> None:
    """Make the x axis one of tokens, logarithmic and with round numbers such as 20k.

    Args:
        axes: Whose x axis it is.
        tokens: What has to be on it; on such an axis there is no place for 0.
        label: What the tokens are.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    low, high = max(1, min(tokens)) / 2, max(1, *tokens) * 2
    axes.set(xscale="log", xlim=(low, high), xlabel=label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1, 3)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize="small")
    axes.grid(alpha=0.25)


def legend_entry(label: str, **look: Any) -> Line2D:
    """Return a line that is only in a legend; how it looks is told as for matplotlib's."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def strategy_entries(looks: Mapping[str, Style], **look: Any) -> list[Line2D]:
    """Return legend entries of strategies; what is given replaces what is theirs."""
    return [
        legend_entry(name, **{"color": each.colour, "marker": each.marker, **look})
        for name, each in looks.items()
    ]


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put a legend below all panels of a figure, in as many columns as fit its width."""
    # A handle with the space around it takes 0.7 inches, a character at most 0.085.
    widths = sorted((0.7 + 0.085 * len(str(each.get_label())) for each in handles), reverse=True)
    columns = sum(width <= figure.get_figwidth() for width in accumulate(widths))
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, columns), frameon=False)

"""The picture and the table of what `index_frontier.py` measured with the most passages.

python benchmarks/index_frontier_report.py docs/index-frontier.svg docs/index-frontier.png
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index_frontier import RESULTS

from rag.allocation.figures import COLOURS, figure_at, legend_below, legend_entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = dict(zip(("flat", "ivf", "hnsw"), COLOURS, strict=False))
CODES = {"float32": "o", "float16": "s", "int8": "^", "pq": "D"}
LEAST_RECALL = 0.7
TARGETS = (0.90, 0.95, 0.99)

Structures = Mapping[str, Sequence[dict[str, Any]]]


def main() -> None:
    """Draw the pictures that were asked for, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="*", metavar="FILE", help="such as .svg, .png")
    parser.add_argument("--input", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = json.loads(args.input.read_text())
    most = max(row["passages"] for row in rows)
    structures: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["passages"] == most:
            structures.setdefault(row["structure"], []).append(row)
    for path in args.pictures:
        draw(structures, path)
    print_table(structures)


def print_table(structures: Structures) -> None:
    """Print, of each structure, the fastest setting that reaches each of three recalls."""
    print("| index | file | build | " + " | ".join(f"recall {each:.2f}" for each in TARGETS) + " |")
    print("|---" * (3 + len(TARGETS)) + "|")
    for name, settings in structures.items():
        cells = [name.replace("-", " "), f"{settings[0]['file_bytes'] / 1e9:.2f} GB"]
        cells.append(f"{settings[0]['build_seconds']:,.0f} s")
        for target in TARGETS:
            reached = [row for row in settings if row["recall"] >= target]
            best = min(reached, key=lambda row: row["one_ms"], default=None)
            cells.append(f"{best['one_ms']:.2g} / {best['batch_ms']:.2g}" if best else "")
        print("| " + " | ".join(cells) + " |")


def draw(structures: Structures, path: Path) -> None:
    """Draw recall against latency, size and build time; the file's ending says the format."""
    first = next(iter(structures.values()))[0]
    from matplotlib.ticker import LogLocator, NullLocator

    with figure_at(path, 11, 4.6) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(2.2, 1, 1))
        for name, settings in structures.items():
            _draw_frontier(left, name, settings)
        left.set(
            yscale="log",
            xlim=(LEAST_RECALL, 1.01),
            xlabel="recall@10",
            ylabel="one query, one core (ms, median)",
            title=f"{first['passages']:,} vectors of {first['dimension']} dimensions",
        )
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_locator(NullLocator())
        left.grid(alpha=0.25)
        names = list(structures)[::-1]
        memory = [structures[name][0]["file_bytes"] / 1e9 for name in names]
        build = [structures[name][0]["build_seconds"] for name in names]
        _draw_bars(middle, names, memory, "index (GB)")
        _draw_bars(right, names, build, "build (s, one core)")
        right.set(yticklabels=[])
        legend_below(
            figure,
            [
                *(legend_entry(kind, color=colour, linewidth=3) for kind, colour in KINDS.items()),
                *(
                    legend_entry(codes, color="black", marker=marker, linestyle="")
                    for codes, marker in CODES.items()
                ),
            ],
        )


def _draw_frontier(axes: "Axes", name: str, settings: Sequence[dict[str, Any]]) -> None:
    """Draw the settings of a structure that no other one of them beats."""
    kind, codes = name.split("-")
    points = [(row["recall"], row["one_ms"]) for row in settings]
    best: list[tuple[float, float]] = []
    for recall, latency in sorted(points, key=lambda point: (point[0], -point[1])):
        while best and best[-1][1] >= latency:
            best.pop()
        best.append((recall, latency))
    shown = [point for point in best if point[0] >= LEAST_RECALL]
    axes.plot(*zip(*shown, strict=True), color=KINDS[kind], marker=CODES[codes], markersize=5)


def _draw_bars(axes: "Axes", names: Sequence[str], values: Sequence[float], label: str) -> None:
    colours = [KINDS[name.split("-")[0]] for name in names]
    bars = axes.barh([name.replace("-", " ") for name in names], values, color=colours)
    axes.bar_label(
        bars,
        fmt=lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.2g}",
        padding=3,
        fontsize="small",
    )
    axes.set(xlabel=label, xticks=[])
    axes.margins(x=0.3)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    main()

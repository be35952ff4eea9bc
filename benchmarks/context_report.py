"""Tables and a plot of what `context_cache.py` measured.

python benchmarks/context_report.py FILE.json [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

PARALLEL = "parallel, in RAM"
HYBRID = "last 2 in sequence"
SEQUENTIAL = "sequential"
ENCODING = "encoding in parallel"

# Ways that read the same prompt with the same weights, the first of each for comparison.
ALIKE = (
    (SEQUENTIAL, "prefix cache, other order", "DynamicCache, other order"),
    ("prefix cache, same order", "DynamicCache, same order"),
    (PARALLEL, "parallel, on disk"),
)
# Told apart also by those who see few colours (Okabe and Ito's palette).
COLOURS = {
    "parallel": "#0072B2",
    "sequential": "#000000",
    "prefix cache": "#E69F00",
    "DynamicCache": "#009E73",
    "llama.cpp": "#D55E00",
    "llama.cpp moved": "#CC79A7",
}
MEGABYTE = 1 << 20

Entry = Mapping[str, Any]
Run = Mapping[str, Any]


def seconds(runs: Sequence[Run]) -> float:
    """Return the median."""
    return median(run["seconds"] for run in runs)


def ratio(runs: Mapping[str, Sequence[Run]], name: str, to: str) -> float:
    """Return how the medians of two ways compare."""
    return seconds(runs[name]) / seconds(runs[to])


def report(results: Entry, plot: Path | None) -> None:
    """Print all that was measured, and draw the times to first token."""
    print(f"{results['model']}; {results['machine']}, {results['threads']} threads")
    entries = results.get("contexts", ())
    for entry in entries:
        contexts(entry)
    if entries:
        encoding(entries)
    if "reply" in results:
        reply(results["reply"])
    if "batch" in results:
        batch(results["batch"])
    if plot and entries:
        draw(results, plot)


def contexts(entry: Entry) -> None:
    """Print the times to first token over contexts of one size."""
    title = f"{entry['tokens']:,} tokens in {entry['passages']} passages"
    print(f"\n{title:38}{'median s':>9}{'lowest':>9}{'highest':>9}{'computed':>9}{'ratio':>8}")
    for name, runs in entry["runs"].items():
        if name == ENCODING:
            continue
        times = [run["seconds"] for run in runs]
        computed = median(run["computed"] for run in runs)
        cells = [
            f"{median(times):.3f}",
            f"{min(times):.3f}",
            f"{max(times):.3f}",
            f"{computed:.0f}",
        ]
        row = f"  {name:36}" + "".join(f"{cell:>9}" for cell in cells)
        print(f"{row}{ratio(entry['runs'], name, PARALLEL):8.2f}{reading(runs)}")
    for first, *others in ALIKE:
        for other in others:
            if other in entry["runs"]:
                compare(entry["runs"], first, other)


def reading(runs: Sequence[Run]) -> str:
    """Return how long a server says that it read, if there is one."""
    times = [run["server_seconds"] for run in runs if run["server_seconds"] is not None]
    return f"  ({median(times):.3f} reading)" if times else ""


def compare(runs: Mapping[str, Sequence[Run]], first: str, other: str) -> None:
    """Print in how many rounds two ways wrote different tokens, if they did."""
    pairs = zip(runs[first], runs[other], strict=True)
    if differing := sum(one["text"] != two["text"] for one, two in pairs):
        print(f"  {other}: not the token of {first} in {differing} of {len(runs[first])} rounds")


def encoding(entries: Sequence[Entry]) -> None:
    """Print what encoding costs."""
    columns = ("parallel s", "tokens/s", "sequential s", "tokens/s", "ratio", "MiB", "int8 MiB")
    print(f"\n{'encoding':10}" + "".join(f"{name:>13}" for name in columns))
    for entry in entries:
        runs = entry["runs"]
        ours, theirs = runs[ENCODING], runs[SEQUENTIAL]
        cells = [
            f"{seconds(ours):.2f}",
            f"{ours[0]['computed'] / seconds(ours):,.0f}",
            f"{seconds(theirs):.2f}",
            f"{theirs[0]['computed'] / seconds(theirs):,.0f}",
            f"{ratio(runs, SEQUENTIAL, ENCODING):.2f}",
            f"{entry['state_bytes'] / MEGABYTE:.1f}",
            f"{entry['int8_bytes'] / MEGABYTE:.1f}",
        ]
        print(f"{entry['tokens']:10,}" + "".join(f"{cell:>13}" for cell in cells))


def reply(entry: Entry) -> None:
    """Print what whole replies take."""
    runs = entry["runs"]
    print(f"\nreplies after {entry['tokens']:,} tokens")
    for name in (PARALLEL, HYBRID, SEQUENTIAL):
        first, whole = runs[f"{name}, first token"], runs[f"{name}, whole"]
        written = whole[0]["written"]
        step = (seconds(whole) - seconds(first)) / (written - 1)
        print(
            f"  {name:20}{seconds(whole):8.3f} s for {written} tokens: the first after "
            f"{seconds(first):.3f} s, each further one {1000 * step:.1f} ms"
        )
    for name in (PARALLEL, HYBRID):
        first, whole = (
            ratio(runs, f"{SEQUENTIAL}, {part}", f"{name}, {part}")
            for part in ("first token", "whole")
        )
        print(f"  sequential to {name}: first token {first:.2f}, whole replies {whole:.2f}")


def batch(entry: Entry) -> None:
    """Print what questions over overlapping passages take together."""
    runs = entry["runs"]
    print(
        f"\n{entry['questions']} questions in one call, each over {entry['passages']} of "
        f"{entry['pool']} passages, {entry['tokens']:,} tokens"
    )
    for name in (PARALLEL, SEQUENTIAL):
        run = runs[name][0]
        print(
            f"  {name:20}{seconds(runs[name]):8.3f} s, {run['computed']:,} tokens computed, "
            f"{run['written']} written"
        )
    print(f"  ratio: {ratio(runs, SEQUENTIAL, PARALLEL):.2f}")
    shared, own = entry["shared_bytes"], entry["own_bytes"]
    print(
        f"  states held for all: {shared / MEGABYTE:.1f} MiB; a copy for each question: "
        f"{own / MEGABYTE:.1f} MiB; ratio {own / shared:.2f}"
    )


def draw(results: Entry, path: Path) -> None:
    """Draw time to first token against tokens of contexts, a line for each way."""
    entries = results["contexts"]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(name for entry in entries for name in entry["runs"]):
        if name == ENCODING:
            continue
        kind, _, rest = name.partition(", ")
        shown = [entry for entry in entries if name in entry["runs"]]
        axes.plot(
            [entry["tokens"] for entry in shown],
            [seconds(entry["runs"][name]) for entry in shown],
            color=COLOURS[kind],
            linestyle="--" if rest in ("same order", "on disk") else "-",
            marker="o",
            markersize=4,
            label=name,
        )
    axes.set(
        xscale="log", yscale="log", xlabel="tokens of contexts", ylabel="time to first token (s)"
    )
    axes.set_title(f"{results['model']}; {results['machine']}", fontsize="medium")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Report what is in a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    report(json.loads(args.file.read_text("utf-8")), args.plot)


if __name__ == "__main__":
    main()

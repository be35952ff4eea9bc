"""`rag index advise`: which vector index to choose."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from rag.indexes.advice import Advice, Option

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{unit}I": 1024**power for power, unit in enumerate("KMGT", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?")


def _parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    matched = _SIZE.fullmatch(value.strip().upper())
    if not matched or matched[2] not in _UNITS:
        raise click.BadParameter(f"'{value}' is no size, such as 16GB or 512MiB", ctx, param)
    return int(float(matched[1]) * _UNITS[matched[2]])


@click.command()
@click.argument("collection", required=False, type=click.Path(path_type=Path))
@click.option("--passages", type=click.IntRange(min=1), help="How many there will be.")
@click.option(
    "--dimension",
    type=click.IntRange(min=1),
    help="Length of a vector; by default that of COLLECTION, or 384.",
)
@click.option(
    "--memory",
    callback=_parse_size,
    metavar="SIZE",
    help="What the vector index may take, such as 16GB; by default half of this machine's memory.",
)
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of the 10 nearest passages that searches are to find.",
)
@click.option(
    "--gpu-memory",
    callback=_parse_size,
    metavar="SIZE",
    help="Memory of all GPUs together, such as 141GB: says which indexes fit there.",
)
@json_option
def advise(
    collection: Path | None,
    passages: int | None,
    dimension: int | None,
    memory: int | None,
    recall: float,
    gpu_memory: int | None,
    as_json: bool,
) -> None:
    """Say which vector index to choose for COLLECTION, or for so many --passages.

    What each index takes follows from its layout. Times are those of one core, scaled from
    measurements of real embeddings: see docs/large-collections.md.
    """
    from rag.indexes.advice import advise as advised

    now = None
    if collection is not None:
        from rag.indexes import Collection

        with Collection.open(collection) as opened:
            found = opened.info()
        now = f"{found.manifest.index} with {found.manifest.codes}"
        passages = passages or max(1, found.passages)
        dimension = dimension or found.manifest.embedder.dimension
    if passages is None:
        raise click.UsageError("give COLLECTION, or --passages")
    advice = advised(
        passages,
        dimension or 384,
        memory=memory or _half_of_memory(),
        recall=recall,
        gpu_memory=gpu_memory,
    )
    if as_json:
        print_json({"advice": advice, "index_now": now})
        return
    _print_options(advice)
    click.echo(f"\n{_conclusion(advice)}")
    if now:
        click.echo(f"now it is {now}")


def _print_options(advice: Advice) -> None:
    on_gpu = any(each.fits_gpu is not None for each in advice.options)
    print_table(
        (
            *("", "index", "codes", "memory", "to build", "fits", "recall", "search", "build"),
            *(("on GPU", "fits GPU") if on_gpu else ()),
        ),
        (
            (
                "→" if option is advice.recommended else "",
                option.kind,
                option.codes,
                _size(option.memory),
                _size(option.building),
                _yes(option.fits),
                f"{option.recall:.3f}",
                _time(option.search_seconds),
                _time(option.build_seconds),
                *((_size(option.gpu_memory), _yes(option.fits_gpu)) if on_gpu else ()),
            )
            for option in advice.options
        ),
    )


def _conclusion(advice: Advice) -> str:
    best = advice.recommended
    if best is None:
        return f"none of them: {advice.reason}"
    return f"{best.kind} with {best.codes}: {advice.reason}\n{_command(best, advice.recall)}"


def _command(option: Option, recall: float) -> str:
    command = f"rag index create COLLECTION PATHS… --index {option.kind} --codes {option.codes}"
    exact = option.kind == "flat" and option.codes in ("float32", "float16")
    return command if exact else f"{command} --recall {recall:g}"


def _half_of_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # not everywhere does the system say
        return None


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:,.{0 if seconds >= 0.01 else 1}f} ms"
    return f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 3600:,.1f} h"


def _yes(true: bool | None) -> str:
    return "yes" if true else "no"

"""`rag index tune`: the recall of a collection's vector index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.output import json_option, print_json, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.retrieval import collection_argument
from rag.core.errors import DataError

if TYPE_CHECKING:
    from rag.indexes.manifest import TunedIndex

RECALL = click.FloatRange(0, 1, min_open=True)


@click.command()
@collection_argument
@click.option(
    "--recall",
    type=RECALL,
    required=True,
    help="Share of the true 10 nearest passages that a search is to find.",
)
@click.option(
    "--queries",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What users ask: a line each, or the queries.jsonl of a data set; by default 500 "
    "sentences of the passages.",
)
@quiet_option
@json_option
def tune(collection: Path, recall: float, file: Path | None, quiet: bool, as_json: bool) -> None:
    """Search the vectors of COLLECTION as little as reaches a stated recall.

    The setting is chosen by one half of the queries and measured with the other. `rag index
    verify` measures it again.
    """
    from rag.indexes import Collection

    queries = None if file is None else _read(file)
    with (
        progress_bars(quiet) as progress,
        Collection.open(collection, writable=True) as opened,
    ):
        tuned = opened.tune(recall, queries=queries, progress=progress)
    if as_json:
        print_json(tuned)
    else:
        click.echo(f"{describe_setting(tuned)}: {describe_recall(tuned)}")


def describe_setting(tuned: TunedIndex) -> str:
    """Say how an index is searched."""
    if not tuned.effort:
        how = "every vector is compared"
    elif tuned.index.startswith("HNSW"):
        how = f"{tuned.effort} candidates are kept"
    else:
        how = f"{tuned.effort} clusters are searched"
    again = f", {tuned.oversampling:g} times the hits are scored anew"
    return f"{tuned.index}: {how}{again if tuned.oversampling > 1 else ''}"


def describe_recall(tuned: TunedIndex) -> str:
    """Say what recall was asked for and reached."""
    short = "" if tuned.measured >= tuned.recall else ", short of it"
    return (
        f"{tuned.recall:g} asked for, {tuned.measured:.4f} measured on {tuned.queries} queries"
        f"{short}"
    )


def _read(file: Path) -> list[str]:
    if file.suffix == ".jsonl":
        from rag.evaluation.datasets import read_queries

        return [query.text for query in read_queries(file)]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(str(file), "is not UTF-8") from error
    return [line.strip() for line in lines if line.strip()]

"""`rag index bulk`: many files into a collection, embedded by many processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rag.cli.exit_codes import ExitCode
from rag.cli.indexing import file_options, resumable, shape_options
from rag.cli.output import json_option, print_json, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.retrieval import collection_argument
from rag.core.errors import CollectionNotFound, ManifestMismatch

if TYPE_CHECKING:
    from rag.indexes import Collection
    from rag.indexes.bulk import BulkReport
    from rag.text import FoundFile, Skipped


@click.command()
@collection_argument
@file_options
@shape_options
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Processes that embed.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Ray cluster: 'auto' where this machine belongs to one, HOST:PORT, or ray://HOST:PORT; by "
    "default one on this machine that ends with the command.",
)
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="GPUs for each process, such as 0.5 for two on one.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for what is embedded and not yet merged, on storage that all machines of the "
    "cluster share; by default COLLECTION.work.",
)
@quiet_option
@json_option
def bulk(
    collection: Path,
    paths: tuple[Path, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    sensitivity: tuple[str, ...],
    workers: int,
    address: str | None,
    gpus_per_worker: float,
    work: Path | None,
    quiet: bool,
    as_json: bool,
    **shape: Any,
) -> None:
    """Add many files to COLLECTION, embedded by processes of a Ray cluster.

    The collection is made where there is none.
    Whatever was killed, the same command goes on from there. Files that cannot be embedded are
    named, and the command ends with exit code 7.
    """
    from rag.indexes.bulk import add_in_bulk
    from rag.indexes.ray_workers import Workers
    from rag.models.registry import load_embedder
    from rag.text import find_files

    # Workers run elsewhere, and know the files by these names.
    found = find_files([each.absolute() for each in paths], include=include, exclude=exclude)
    passed_over: list[Skipped] = []
    began = time.perf_counter()
    with (
        progress_bars(quiet) as progress,
        resumable("bulk", collection),
        _open_or_create(collection, **shape) as opened,
    ):
        made_with = opened.manifest.embedder
        load = partial(
            load_embedder,
            made_with.name,
            query_prefix=made_with.query_prefix,
            passage_prefix=made_with.passage_prefix,
        )
        report = add_in_bulk(
            opened,
            _files(found, passed_over),
            load,
            work or collection.with_name(f"{collection.name}.work"),
            Workers(workers, address, gpus_per_worker),
            sensitivity=sensitivity,
            progress=progress,
        )
    _print(report, passed_over, time.perf_counter() - began, as_json)
    if report.failed or report.skipped:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


def _files(found: Iterator[FoundFile | Skipped], passed_over: list[Skipped]) -> Iterator[FoundFile]:
    from rag.text import FoundFile

    for each in found:
        if isinstance(each, FoundFile):
            yield each
        else:
            passed_over.append(each)


def _open_or_create(
    path: Path,
    embedder_name: str,
    passage_tokens: int | None,
    overlap: int | None,
    kind: Any,
    codes: Any,
) -> Collection:
    """Open the collection, or make it; what was stated must be what it was made with."""
    from rag.indexes import Collection
    from rag.models.registry import load_embedder

    try:
        opened = Collection.open(path, writable=True)
    except CollectionNotFound:
        return Collection.create(
            path,
            load_embedder(embedder_name),
            index=kind,
            codes=codes,
            passage_tokens=passage_tokens,
            overlap=overlap,
        )
    manifest = opened.manifest
    stored = {
        "embedder_name": manifest.embedder.name,
        "passage_tokens": manifest.passage_tokens,
        "overlap": manifest.overlap,
        "kind": manifest.index,
        "codes": manifest.codes,
    }
    ctx = click.get_current_context()
    for name, value in stored.items():
        stated = ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
        if stated and ctx.params[name] != value:
            opened.close()
            raise ManifestMismatch(str(path), name, value, ctx.params[name])
    return opened


def _print(report: BulkReport, passed_over: list[Skipped], seconds: float, as_json: bool) -> None:
    skipped = passed_over + report.skipped
    failed_files = sum(len(each.files) for each in report.failed)
    if as_json:
        lists = {"skipped": skipped, "failed": report.failed}
        print_json(
            {**asdict(report.merged), "restarts": report.restarts, "seconds": seconds, **lists}
        )
        return
    for each in skipped:
        click.echo(f"skipped {each.path}: {each.reason}", err=True)
    for failed in report.failed:
        names = ", ".join(map(str, failed.files))
        click.echo(f"not embedded: {failed.reason}; files: {names}", err=True)
    counts = {
        **asdict(report.merged),
        "skipped": len(skipped),
        "failed": failed_files,
        "restarts": report.restarts,
    }
    click.echo(
        f"{', '.join(f'{name} {value:,}' for name, value in counts.items())}; {seconds:.1f} s"
    )

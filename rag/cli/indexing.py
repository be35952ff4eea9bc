"""`rag index create` and `rag index add`: files into a collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.cli.exit_codes import ExitCode
from rag.cli.output import json_option, print_json, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.retrieval import embedder_option, location_argument
from rag.cli.tune import RECALL, describe_recall, describe_setting
from rag.core.documents import Document
from rag.core.errors import InputError

if TYPE_CHECKING:
    from rag.cli.estimate import Estimate
    from rag.indexes import AddReport, AnyCollection
    from rag.indexes.manifest import TunedIndex
    from rag.indexes.sources import Source

Command = TypeVar("Command", bound=Callable[..., Any])

INDEXES = ("flat", "hnsw", "ivf")
CODES = ("float32", "float16", "int8", "pq")


def file_options(command: Command) -> Command:
    """Add what every command that reads files into a collection has."""
    options = (
        click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path)),
        click.option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help="Files to take, in the way of .gitignore; by default those of known formats. "
            "Can be repeated.",
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="Files and folders to leave out. Can be repeated.",
        ),
        click.option(
            "--sensitivity",
            multiple=True,
            metavar="TAG",
            help="Who may learn of the documents, where they do not say so themselves: 'public', "
            "or tags of your own; otherwise they are 'internal'. Can be repeated.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def source_options(command: Command) -> Command:
    """Add what `create` and `add` share."""
    dry_run = click.option("--dry-run", is_flag=True, help="Count and estimate; write nothing.")
    return location_argument(file_options(dry_run(quiet_option(json_option(command)))))


def shape_options(command: Command) -> Command:
    """Add what a collection is made with."""
    options = (
        embedder_option,
        click.option(
            "--passage-tokens",
            type=click.IntRange(min=1),
            help="Longest passage, in tokens; by default as long as the embedder reads.",
        ),
        click.option(
            "--overlap",
            type=click.IntRange(min=0),
            help="Tokens that a passage repeats of the one before; by default a sixteenth of a "
            "passage.",
        ),
        click.option(
            "--index",
            "kind",
            type=click.Choice(INDEXES),
            default="flat",
            show_default=True,
            help="Kind of the vector index.",
        ),
        click.option(
            "--codes",
            type=click.Choice(CODES),
            default="float32",
            show_default=True,
            help="How the vector index holds vectors; int8 and pq are scored anew by the stored "
            "vectors.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@source_options
@shape_options
@click.option(
    "--recall",
    type=RECALL,
    help="Tune the vector index to find this share of the 10 nearest passages; see `index tune`.",
)
def create(
    collection: str | Path,
    paths: tuple[Path, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    sensitivity: tuple[str, ...],
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    embedder_name: str,
    passage_tokens: int | None,
    overlap: int | None,
    kind: Any,
    codes: Any,
    recall: float | None,
) -> None:
    """Make the new collection COLLECTION from files and folders."""
    from rag.cli.estimate import estimate
    from rag.indexes import Collection, create_collection
    from rag.indexes.sources import Source
    from rag.models.registry import load_embedder

    if recall and isinstance(collection, str):
        raise click.UsageError("--recall is for directories; what is on Milvus is not tuned")
    source = Source(paths, include, exclude, sensitivity)
    began = time.perf_counter()
    with progress_bars(quiet) as progress, resumable("add", collection):
        documents = source.documents(progress)
        first = next(documents, None)
        if first is None:  # an empty folder must not leave an empty collection
            raise InputError(
                f"nothing to index in {', '.join(map(str, paths))}: no file of a known format "
                f"could be read, {len(source.skipped)} were skipped; --include takes others"
            )
        documents = chain([first], documents)
        embedder = load_embedder(embedder_name)
        with (
            TemporaryDirectory() as scratch,
            # A dry run makes an empty collection elsewhere, so it refuses what a real one would.
            create_collection(
                Path(scratch) / "collection" if dry_run else collection,
                embedder,
                index=kind,
                codes=codes,
                passage_tokens=passage_tokens,
                overlap=overlap,
            ) as opened,
        ):
            result = (
                estimate(documents, embedder, opened.manifest, progress)
                if dry_run
                else opened.add(documents, progress=progress)
            )
            tuned = None
            if recall and not dry_run and isinstance(opened, Collection):
                tuned = opened.tune(recall, progress=progress)
    _report(result, source, time.perf_counter() - began, as_json, tuned=tuned)


@click.command()
@source_options
@click.option("--prune", is_flag=True, help="Remove documents of PATHS whose files are gone.")
def add(
    collection: str | Path,
    paths: tuple[Path, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    sensitivity: tuple[str, ...],
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    prune: bool,
) -> None:
    """Add files and folders to COLLECTION; what has not changed is passed over."""
    from rag.cli.estimate import estimate
    from rag.indexes import open_collection
    from rag.indexes.sources import Source
    from rag.pipelines.encoded_passages import drop_removed

    source = Source(paths, include, exclude, sensitivity)
    began = time.perf_counter()
    with (
        progress_bars(quiet) as progress,
        resumable("add", collection),
        open_collection(collection, writable=not dry_run) as opened,
    ):
        documents = source.documents(progress)
        changed = (each for each in documents if not _is_stored(opened, each))
        result = (
            estimate(changed, opened.embedder, opened.manifest, progress)
            if dry_run
            else opened.add(documents, progress=progress)
        )
        gone = source.gone(opened) if prune else []
        if gone and not dry_run:
            opened.remove(gone)
        dropped = {} if dry_run else drop_removed(opened)
    _report(result, source, time.perf_counter() - began, as_json, gone, dropped)


def _is_stored(collection: AnyCollection, document: Document) -> bool:
    try:
        return collection.document(document.id) == document
    except InputError:
        return False


def _report(
    result: AddReport | Estimate,
    source: Source,
    seconds: float,
    as_json: bool,
    gone: Sequence[str] = (),
    dropped: Mapping[str, int] | None = None,
    tuned: TunedIndex | None = None,
) -> None:
    """Say what was done or would be; end with code 7 if a file failed."""
    dropped = dropped or {}
    if as_json:
        lists = {"removed": gone, "skipped": source.skipped}
        also = {"tuned": tuned} if tuned else {}
        print_json({**asdict(result), "seconds": seconds, **lists, **dropped, **also})
    else:
        for reason, paths in source.reasons().items():
            where = paths[0] if len(paths) == 1 else f"{len(paths)} files, such as {paths[0]}"
            click.echo(f"skipped {where}: {reason}", err=True)
        counts = {**asdict(result), "removed": len(gone), "skipped": len(source.skipped), **dropped}
        shown = [f"{name.replace('_', ' ')} {value:,}" for name, value in counts.items()]
        click.echo(f"{', '.join(shown)}; {seconds:.1f} s")
        if tuned:
            click.echo(f"{describe_setting(tuned)}: {describe_recall(tuned)}")
    if source.failed:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


@contextmanager
def resumable(command: str, collection: str | Path) -> Iterator[None]:
    """Say after Ctrl-C what stays and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"stopped; what was committed stays, and `rag index {command} {collection} …` "
            "goes on from there",
            err=True,
        )
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None

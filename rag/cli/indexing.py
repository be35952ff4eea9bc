"""`rag index create` and `rag index add`: files into a collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import click

from rag.cli.exit_codes import ExitCode
from rag.cli.output import json_option, print_json, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.retrieval import collection_argument, embedder_option
from rag.core.documents import Document
from rag.core.errors import InputError
from rag.core.progress import Progress

if TYPE_CHECKING:
    from rag.cli.estimate import Estimate
    from rag.indexes import AddReport, Collection
    from rag.text import Skipped

Command = TypeVar("Command", bound=Callable[..., Any])

INDEXES = ("flat", "hnsw", "ivf", "pq")


@dataclass
class Source:
    """The files that a command names, read one at a time.

    Args:
        paths: Files and folders.
        include: Patterns of files to take.
        exclude: Patterns of files to leave out.
        sensitivity: The tags of documents that state none themselves.

    Attributes:
        wanted: The files to read, known once `documents` has begun.
        skipped: What gave no document, complete once `documents` is exhausted.
    """

    paths: Sequence[Path]
    include: Sequence[str]
    exclude: Sequence[str]
    sensitivity: Sequence[str] = ()
    wanted: set[Path] = field(default_factory=set, init=False)
    skipped: list[Skipped] = field(default_factory=list, init=False)

    def documents(self, progress: Progress) -> Iterator[Document]:
        """Yield the documents and keep what was skipped."""
        from rag.text import FoundFile, find_files, read_documents

        found = list(find_files(self.paths, include=self.include, exclude=self.exclude))
        self.wanted = {each.path for each in found if isinstance(each, FoundFile)}
        items = read_documents(self.paths, include=self.include, exclude=self.exclude)
        for number, item in enumerate(items, start=1):
            # A file of JSON Lines gives more than one item.
            progress("reading", number, max(number, len(found)))
            if isinstance(item, Document):
                yield self._tagged(item)
            else:
                self.skipped.append(item)

    def _tagged(self, document: Document) -> Document:
        if not self.sensitivity or "sensitivity" in document.metadata:
            return document
        return replace(
            document, metadata={**document.metadata, "sensitivity": list(self.sensitivity)}
        )

    def reasons(self) -> dict[str, list[Path]]:
        """Return what was skipped, by reason."""
        reasons: dict[str, list[Path]] = {}
        for each in self.skipped:
            reasons.setdefault(each.reason, []).append(each.path)
        return reasons

    @property
    def failed(self) -> bool:
        """Whether a file gave no document though it was to be read."""
        return any(each.path in self.wanted for each in self.skipped)

    def gone(self, collection: Collection) -> list[str]:
        """Return the ids of documents from below the paths whose files are no longer there."""
        roots = [path.resolve() for path in self.paths]
        return [
            each.id
            for each in collection.documents()
            if (path := _path(each.uri)) and not path.exists()
            if any(path.is_relative_to(root) for root in roots)
        ]


def _path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def source_options(command: Command) -> Command:
    """Add what `create` and `add` share."""
    options = (
        collection_argument,
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
        click.option("--dry-run", is_flag=True, help="Count and estimate; write nothing."),
        quiet_option,
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@source_options
@embedder_option
@click.option(
    "--passage-tokens",
    type=click.IntRange(min=1),
    help="Longest passage, in tokens; by default as long as the embedder reads.",
)
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    help="Tokens that a passage repeats of the one before; by default a sixteenth of a passage.",
)
@click.option(
    "--index",
    "kind",
    type=click.Choice(INDEXES),
    default="flat",
    show_default=True,
    help="Kind of the vector index.",
)
def create(
    collection: Path,
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
) -> None:
    """Make the new collection COLLECTION from files and folders."""
    from rag.cli.estimate import estimate
    from rag.indexes import Collection
    from rag.models.registry import load_embedder

    source = Source(paths, include, exclude, sensitivity)
    began = time.perf_counter()
    with progress_bars(quiet) as progress, _resumable(collection):
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
            Collection.create(
                Path(scratch) / "collection" if dry_run else collection,
                embedder,
                index=kind,
                passage_tokens=passage_tokens,
                overlap=overlap,
            ) as opened,
        ):
            result = (
                estimate(documents, embedder, opened.manifest, progress)
                if dry_run
                else opened.add(documents, progress=progress)
            )
    _report(result, source, time.perf_counter() - began, as_json)


@click.command()
@source_options
@click.option("--prune", is_flag=True, help="Remove documents of PATHS whose files are gone.")
def add(
    collection: Path,
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
    from rag.indexes import Collection
    from rag.pipelines.encoded_passages import drop_removed

    source = Source(paths, include, exclude, sensitivity)
    began = time.perf_counter()
    with (
        progress_bars(quiet) as progress,
        _resumable(collection),
        Collection.open(collection, writable=not dry_run) as opened,
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


def _is_stored(collection: Collection, document: Document) -> bool:
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
) -> None:
    """Say what was done or would be; end with code 7 if a file failed."""
    dropped = dropped or {}
    if as_json:
        lists = {"removed": gone, "skipped": source.skipped}
        print_json({**asdict(result), "seconds": seconds, **lists, **dropped})
    else:
        for reason, paths in source.reasons().items():
            where = paths[0] if len(paths) == 1 else f"{len(paths)} files, such as {paths[0]}"
            click.echo(f"skipped {where}: {reason}", err=True)
        counts = {**asdict(result), "removed": len(gone), "skipped": len(source.skipped), **dropped}
        shown = [f"{name.replace('_', ' ')} {value:,}" for name, value in counts.items()]
        click.echo(f"{', '.join(shown)}; {seconds:.1f} s")
    if source.failed:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


@contextmanager
def _resumable(collection: Path) -> Iterator[None]:
    """Say after Ctrl-C what stays and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"stopped; what was committed stays, and `rag index add {collection} …` goes on "
            "from there",
            err=True,
        )
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None

"""`rag index`: making, changing and looking after collections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli.advise import advise
from rag.cli.bulk import bulk
from rag.cli.indexing import add, create
from rag.cli.output import json_option, print_json, print_table
from rag.cli.retrieval import device_option, location_argument, where_option
from rag.cli.tune import describe_recall, tune
from rag.core.errors import CollectionCorrupt

if TYPE_CHECKING:
    from rag.indexes import CollectionInfo


@click.group()
def index() -> None:
    """Make, change and look after collections."""


index.add_command(create)
index.add_command(add)
index.add_command(bulk)
index.add_command(advise)
index.add_command(tune)


@index.command()
@location_argument
@click.argument("documents", nargs=-1)
@where_option
@json_option
def remove(
    collection: str | Path, documents: tuple[str, ...], where: dict[str, Any] | None, as_json: bool
) -> None:
    """Remove DOCUMENTS from COLLECTION, by id or by --where, and what is encoded of them.

    `rag index info --documents` lists the ids.
    """
    from rag.indexes import open_collection
    from rag.pipelines.encoded_passages import drop_removed

    if bool(documents) == bool(where):
        raise click.UsageError("give ids of documents, or --where")
    with open_collection(collection, writable=True) as opened:
        removed = opened.remove(documents, where=where)
        dropped = drop_removed(opened)
    if as_json:
        print_json({"removed": removed, **dropped})
    else:
        also = "".join(f", {count:,} contexts dropped" for count in dropped.values())
        click.echo(f"{removed} documents removed{also}")


@index.command()
@location_argument
@click.option("--documents", is_flag=True, help="List the documents.")
@device_option
@json_option
def info(collection: str | Path, documents: bool, device: str, as_json: bool) -> None:
    """Show what is in COLLECTION and what it was built with."""
    from rag.indexes import open_collection

    with open_collection(collection, device=device) as opened:
        if documents:
            listed = list(opened.documents())
            if as_json:
                print_json({"documents": listed})
            else:
                print_table(("id", "title"), ((each.id, each.title) for each in listed))
            return
        found = opened.info()
    if as_json:
        print_json(found)
        return
    print_table(
        ("", ""),
        (
            ("path", found.path),
            ("documents", found.documents),
            ("passages", found.passages),
            ("vectors", found.vectors),
            ("generation", found.generation),
            ("embedder", f"{found.manifest.embedder.name}, {found.manifest.embedder.revision}"),
            ("index", f"{found.manifest.index}, {found.manifest.codes}"),
            ("recall", describe_recall(tuned) if (tuned := found.manifest.tuned) else "not asked"),
            ("searched on", f"{found.placement.device}: {found.placement.reason}"),
            ("passage tokens", found.manifest.passage_tokens),
            ("overlap", found.manifest.overlap),
            ("store", _megabytes(found.store_bytes)),
            ("vector index", _megabytes(found.vector_bytes)),
            ("lexical index", _megabytes(found.lexical_bytes)),
        ),
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


@index.command()
@location_argument
@click.option("--repair", is_flag=True, help="Build the indexes anew where they are wrong.")
@json_option
def verify(collection: str | Path, repair: bool, as_json: bool) -> None:
    """Check that the store of COLLECTION is sound and that both indexes agree with it.

    Where a recall was asked for, it is measured again.

    Ends with exit code 5 if something is wrong that was not repaired.
    """
    from rag.indexes import open_collection

    with open_collection(collection, writable=repair) as opened:
        report = opened.verify(repair=repair)
    if as_json:
        recall = None if report.recall is None else report.recall._asdict()
        print_json({"ok": report.ok, "problems": report.problems, "recall": recall})
    else:
        for each in report.problems:
            click.echo(f"{each.part} {each.reason}{' (repaired)' if each.repaired else ''}")
        if report.recall is not None:
            click.echo(
                f"finds {report.recall.mean:.3f} of the 10 nearest passages, "
                f"measured on {report.recall.queries} queries"
            )
        if report.ok:
            click.echo("the collection is sound")
    if not report.ok:
        raise CollectionCorrupt(
            str(collection),
            f"{len(report.problems)} problems; --repair builds the indexes anew, and a damaged "
            "store has to be built from the documents",
        )


@index.command()
@location_argument
@json_option
def compact(collection: str | Path, as_json: bool) -> None:
    """Give back the room of what was removed from COLLECTION."""
    from rag.indexes import open_collection

    with open_collection(collection, writable=True) as opened:
        before = opened.info().store_bytes
        opened.compact()
        after = opened.info().store_bytes
    if as_json:
        print_json({"store_bytes_before": before, "store_bytes": after})
    else:
        click.echo(f"the store had {_megabytes(before)} and has {_megabytes(after)}")


@index.command()
@location_argument
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def export(collection: str | Path, folder: Path, as_json: bool) -> None:
    """Write all of COLLECTION, vectors included, to Parquet files in FOLDER."""
    from rag.indexes import open_collection

    with open_collection(collection) as opened:
        opened.export(folder)
        _print_moved("exported", opened.info(), folder, as_json)


@index.command("import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@location_argument
@json_option
def import_(folder: Path, collection: str | Path, as_json: bool) -> None:
    """Make COLLECTION from what `export` wrote to FOLDER; nothing is embedded again."""
    from rag.indexes import import_collection

    with import_collection(folder, collection) as opened:
        _print_moved("imported", opened.info(), collection, as_json)


def _print_moved(done: str, info: CollectionInfo, to: str | Path, as_json: bool) -> None:
    counts = {"documents": info.documents, "passages": info.passages}
    if as_json:
        print_json({"path": str(to), **counts})
    else:
        numbers = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        click.echo(f"{done} {numbers} to {to}")

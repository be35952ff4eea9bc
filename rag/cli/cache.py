"""`rag cache`: passages that are kept encoded, so that no question waits for their reading."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli.cache_build import build
from rag.cli.cache_calibrate import calibrate
from rag.cli.contexts import store_option
from rag.cli.encoding import megabytes
from rag.cli.output import json_option, print_json, print_table, quiet_option
from rag.cli.progress import progress_bars
from rag.cli.retrieval import collection_argument
from rag.core.errors import CollectionCorrupt, InputError
from rag.core.templates import load_template

if TYPE_CHECKING:
    from rag.context.model_folder import ModelFolder
    from rag.indexes import Collection


@click.group()
def cache() -> None:
    """Keep passages encoded, so that no question waits for a model to read them.

    Each passage is encoded by itself, once, for all questions (APE, arXiv 2502.05431). What that
    costs in quality differs by model: `calibrate` measures it, and `rag ask` goes by it.
    """


cache.add_command(build)
cache.add_command(calibrate)


@cache.command()
@collection_argument
@store_option
@json_option
def info(collection: Path, store: Path | None, as_json: bool) -> None:
    """Show what is encoded of COLLECTION for each model, and what calibrating found."""
    from rag.context.model_folder import model_folders
    from rag.indexes import Collection
    from rag.pipelines.encoded_passages import FOLDER

    folder = store or collection / FOLDER
    with Collection.open(collection) as opened:
        models = [_about(each, opened) for each in model_folders(folder)]
    if as_json:
        print_json({"path": folder, "models": models})
    elif models:
        for about in models:
            _print_about(about)
    else:
        click.echo(f"nothing is encoded in {folder}")


def _about(folder: ModelFolder, collection: Collection) -> dict[str, Any]:
    """Return what is known of one model, from files alone."""
    from rag.context.calibration import Calibration
    from rag.pipelines.encoded_passages import sources

    there = {entry.source for _, entry in folder.entries() if entry}
    wanted = sources(collection, [load_template("read", folder.path)])
    manifest, _ = folder.manifest()
    calibration = manifest.calibration if manifest else None
    about = asdict(folder.info())
    about |= {"passages": len(wanted), "encoded": len(wanted & there), "calibration": calibration}
    about["date"] = about["explanation"] = ""
    try:
        if calibration:
            found = Calibration.from_json(calibration)
            about |= {"date": found.date, "explanation": found.explain()}
    except InputError as error:
        about["manifest"] = str(error)
    return about


def _print_about(about: dict[str, Any]) -> None:
    rows = {
        "model": about["model"],
        "revision": about["revision"],
        "passages": f"{about['encoded']:,} of {about['passages']:,} are encoded",
        "entries": f"{about['entries']:,}, {about['int8']:,} of them in int8",
        "tokens": f"{about['tokens']:,}",
        "size": megabytes(about["bytes"]),
        "calibrated": about["date"] or "no; `rag cache calibrate` does it",
        "manifest": about["manifest"] and f"cannot be used: {about['manifest']}",
        "damaged": about["rejected"] and f"{about['rejected']}; `rag cache verify` removes them",
        "abandoned": about["leftovers"] and f"{about['leftovers']} files; `prune` removes them",
    }
    print_table(("", ""), ((name, value) for name, value in rows.items() if value))
    click.echo(f"{about['explanation']}\n")


@cache.command()
@collection_argument
@click.option("--model", metavar="NAME", help="Drop all that is encoded for this model.")
@click.option("--all", "everything", is_flag=True, help="Drop all that is encoded.")
@store_option
@json_option
def prune(
    collection: Path, model: str | None, everything: bool, store: Path | None, as_json: bool
) -> None:
    """Drop what is encoded of passages that are gone from COLLECTION or have changed.

    Kept is what the shipped prompts, or those of the last build, show of a passage. Calibrations
    stay. No model is needed.
    """
    from rag.indexes import Collection
    from rag.pipelines.encoded_passages import FOLDER, drop_gone, stores_in

    if model and everything:
        raise click.UsageError("give --model or --all")
    folder = store or collection / FOLDER
    with Collection.open(collection) as opened:
        stores = [each for each in stores_in(folder) if model in (None, each.model)]
        if model and not stores:
            raise InputError(f"nothing is encoded for {model} in {folder}; see `rag cache info`")
        if model or everything:
            removed = [each.clear() for each in stores]
        else:
            removed = [drop_gone(opened, stores)]
    entries, size = sum(each.entries for each in removed), sum(each.bytes for each in removed)
    if as_json:
        print_json({"dropped": entries, "bytes": size})
    else:
        click.echo(f"{entries:,} contexts dropped, {megabytes(size)}")


@cache.command()
@collection_argument
@store_option
@quiet_option
@json_option
def verify(collection: Path, store: Path | None, quiet: bool, as_json: bool) -> None:
    """Read all that is encoded of COLLECTION, and remove what is not as it was written.

    Ends with exit code 5 if something was removed. Without this command, too, what is damaged is
    never used: it is found when it is read, and encoded again.
    """
    from rag.indexes import Collection
    from rag.pipelines.encoded_passages import FOLDER, stores_in

    folder = store or collection / FOLDER
    with Collection.open(collection), progress_bars(quiet) as progress:
        found = [each.verify(progress) for each in stores_in(folder)]
    entries, size = sum(each.entries for each in found), sum(each.bytes for each in found)
    rejected = {path: reason for each in found for path, reason in each.rejected.items()}
    if as_json:
        print_json({"entries": entries, "bytes": size, "rejected": rejected})
    else:
        for path, reason in rejected.items():
            click.echo(f"{path}: {reason} (removed)")
        click.echo(f"{entries:,} contexts, {megabytes(size)}, are as they were written")
    if rejected:
        raise CollectionCorrupt(
            str(folder),
            f"{len(rejected)} files were damaged and are removed; `rag cache build` encodes what "
            "they held",
        )

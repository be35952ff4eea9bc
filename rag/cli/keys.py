"""`rag keys`: who may use the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.output import json_option, print_json, print_table
from rag.core.errors import InputError

if TYPE_CHECKING:
    from rag.service.keys import Keys, Scope

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The service's folder, as `rag serve` shows it. Without it: $RAG_SERVICE_DATA, else "
    "ragmeter in the user's folder for data.",
)


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys of `rag serve`.

    A service that never had a key lets in everybody on its own machine, and nobody else. From the
    first key on, every request needs one. A service that runs sees changes within a second.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(("read", "write", "admin")),
    multiple=True,
    default=("read",),
    show_default=True,
    help="What it is for: search and ask; add and delete documents; everything. Can be repeated.",
)
@click.option(
    "--collection",
    "collections",
    metavar="COLLECTION",
    multiple=True,
    help="A collection that it may use; without any, it may use all. Can be repeated.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(min=1),
    help="Most requests in a minute, in place of what the service's settings say.",
)
@click.option(
    "--tokens-per-day",
    type=click.IntRange(min=1),
    help="Most tokens, read and written, of a day in UTC; without it, as many as it asks for.",
)
@data_option
@json_option
def create(
    name: str,
    scopes: tuple[Scope, ...],
    collections: tuple[str, ...],
    requests_per_minute: int | None,
    tokens_per_day: int | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Make the key NAME and print its secret, which is not shown again."""
    folder = _folder(data)
    key, secret = _keys(folder).create(
        name, scopes, collections or None, requests_per_minute, tokens_per_day
    )
    if as_json:
        print_json({"key": key, "secret": secret})
    else:
        click.echo(f"key '{name}' of the service in {folder}; its secret is not shown again:\n")
        click.echo(f"  {secret}\n")
        click.echo(
            "The page asks for it, OpenAI clients take it as api_key, and requests send it as"
        )
        click.echo("the header `Authorization: Bearer SECRET`.")


@keys.command("list")
@data_option
@json_option
def list_keys(data: Path | None, as_json: bool) -> None:
    """List the keys, revoked ones included; secrets are not kept, so none is shown."""
    found = _keys(_used(data)).list()
    if as_json:
        print_json({"keys": found})
    elif found:
        print_table(
            ("name", "scopes", "collections", "requests/min", "tokens/day", "made", "", "id"),
            (
                (
                    key.name,
                    ", ".join(key.scopes),
                    "all" if key.collections is None else ", ".join(key.collections),
                    key.requests_per_minute or "",
                    f"{key.tokens_per_day:,}" if key.tokens_per_day else "",
                    key.created[:10],
                    f"revoked {key.revoked[:10]}" if key.revoked else "",
                    key.id,
                )
                for key in found
            ),
        )
    else:
        click.echo("there are no keys; `rag keys create NAME` makes one")


@keys.command()
@click.argument("name")
@data_option
def revoke(name: str, data: Path | None) -> None:
    """Refuse the key NAME from now on.

    The name stays taken. Without any key left, the service lets in nobody.
    """
    _keys(_used(data)).revoke(name)
    click.echo(f"key '{name}' is revoked; a service that runs refuses it within a second")


def _folder(data: Path | None) -> Path:
    from rag.service.settings import default_data

    return data or default_data()


def _used(data: Path | None) -> Path:
    """Return the folder, which has to be one of a service."""
    folder = _folder(data)
    if not (folder / "service.sqlite").exists():
        raise InputError(f"{folder} is no folder of a service; name the one that `rag serve` shows")
    return folder


def _keys(folder: Path) -> Keys:
    from rag.service.database import Database
    from rag.service.keys import Keys

    return Keys(Database(folder / "service.sqlite"))

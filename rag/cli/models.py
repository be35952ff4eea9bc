"""`rag models`: the models at hand."""

from __future__ import annotations

import click

from rag.cli.output import json_option, print_json, print_table


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the models that installable packages carry, and whether they are installed.

    Commands also take the path of a model, and names of the Hugging Face hub.
    """
    from rag.models.registry import available_models

    found = available_models()
    if as_json:
        print_json({"models": found})
    else:
        print_table(
            ("name", "kind", "package", ""),
            (
                (
                    each.name,
                    each.kind,
                    each.package,
                    "installed" if each.installed else each.install,
                )
                for each in found
            ),
        )

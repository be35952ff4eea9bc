"""`rag prompts`: the prompt templates in use."""

from __future__ import annotations

from pathlib import Path

import click

from rag.cli.output import json_option, print_json, print_table

prompts_option = click.option(
    "--prompts",
    "prompt_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of prompt templates that replace the shipped ones of the same name.",
)


@click.command()
@click.argument("name", required=False)
@prompts_option
@json_option
def prompts(name: str | None, prompt_folder: Path | None, as_json: bool) -> None:
    """List the prompt templates in use, or show the one called NAME.

    To change one, write it to a folder of your own, edit it there, and name the folder with
    --prompts: rag prompts read > my-prompts/read.toml
    """
    from rag.core.templates import load_template, templates

    if name:
        template = load_template(name, prompt_folder)
        if as_json:
            print_json(template)
        else:
            click.echo(template.path.read_text(encoding="utf-8"), nl=False)
        return
    found = list(templates(prompt_folder))
    if as_json:
        print_json({"prompts": found})
    else:
        print_table(("name", "for", "file"), ((t.name, t.description, t.path) for t in found))

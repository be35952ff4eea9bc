"""Writes docs/cli.md from the `rag` command itself; with --check, fails if the file is stale."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from rag.cli import main

TARGET = Path(__file__).with_name("cli.md")
INTRODUCTION = """\
# The `rag` command

This page is made by `make docs` from the command's own help.
"""


def reference(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a section for a command and for each command below it."""
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from reference(child, click.Context(child, parent=context, info_name=name))


def render() -> str:
    """Return the whole page."""
    context = click.Context(main, info_name="rag", terminal_width=96, **main.context_settings)
    return "\n".join((INTRODUCTION, *reference(main, context)))


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != render():
            sys.exit("docs/cli.md is stale: run `make docs`")
    else:
        TARGET.write_text(render(), encoding="utf-8")

"""The `rag` command.

Modules of this package import nothing heavy: what a command needs is imported when it runs, so
that `rag --help` answers at once.
"""

from __future__ import annotations

import click

import rag
from rag.cli.ask import ask
from rag.cli.budget import budget
from rag.cli.cache import cache
from rag.cli.doctor import doctor
from rag.cli.evaluate import evaluate
from rag.cli.examples import examples
from rag.cli.exit_codes import EXIT_CODES, ReportingGroup
from rag.cli.index import index
from rag.cli.keys import keys
from rag.cli.mcp import mcp
from rag.cli.models import models
from rag.cli.prompts import prompts
from rag.cli.rerank import rerank
from rag.cli.search import search
from rag.cli.serve import serve
from rag.cli.web import web


@click.group(
    cls=ReportingGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(rag.__version__)
def main(debug: bool) -> None:
    """Answer questions over your own documents and the web, with citations and at a stated cost."""


for command in (
    index,
    search,
    rerank,
    ask,
    web,
    budget,
    examples,
    keys,
    serve,
    mcp,
    cache,
    evaluate,
    prompts,
    models,
    doctor,
):
    main.add_command(command)

"""`rag mcp`: search and answers as tools of an assistant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from rag.cli.retrieval import llm_option

if TYPE_CHECKING:
    from rag.service.service import Service
    from rag.service.settings import Settings


@click.command()
@click.argument("collections", nargs=-1, metavar="COLLECTION…", type=click.Path(path_type=Path))
@llm_option
@click.option(
    "--pipeline",
    type=click.Choice(("read", "extractive")),
    default="read",
    show_default=True,
    help="How to answer: have the model read what is found, or quote it; to quote, no model is "
    "loaded.",
)
@click.option("--web", "use_web", is_flag=True, help="Allow answers from the web.")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    envvar="RAG_ENGINE",
    help="With --web: search engine, as `rag ask` takes it. Can be repeated.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="HOST",
    help="With --web: a host, address or network of your own that may be fetched from though it "
    "is private. Can be repeated.",
)
def mcp(
    collections: tuple[Path, ...],
    llm_name: str,
    pipeline: str,
    use_web: bool,
    engines: tuple[str, ...],
    allow: tuple[str, ...],
) -> None:
    """Serve each COLLECTION to an assistant as tools of the Model Context Protocol.

    Assistants start this command themselves and talk to it over standard input and output.
    Collections are only read, and nothing is kept. Models are loaded when a tool is first used.
    """
    from rag.core.extras import require
    from rag.indexes.manifest import Manifest

    if not collections and not use_web:
        raise click.UsageError("name a COLLECTION, or give --web")
    if use_web and not engines:
        raise click.UsageError("--web needs a search engine: --engine")
    for module in ("mcp", "fastapi"):
        require(module, extra="mcp", needed_for="rag mcp")
    from rag.models.registry import DEFAULT_EMBEDDER
    from rag.service.mcp import make_server
    from rag.service.settings import Answers, Models, Settings, Web

    built_with = [Manifest.read(path).embedder.name for path in collections]
    with TemporaryDirectory(prefix="rag-mcp-") as data:
        settings = Settings(
            data=Path(data),
            read_only=True,
            models=Models(
                embedder=built_with[0] if built_with else DEFAULT_EMBEDDER,
                llm="" if pipeline == "extractive" else llm_name,
            ),
            answers=Answers(pipeline=pipeline, keep=0),
            web=Web(engines=engines if use_web else (), allow=allow),
        )
        make_server(lambda: _loaded(settings, collections)).run("stdio")


@asynccontextmanager
async def _loaded(settings: Settings, collections: tuple[Path, ...]) -> AsyncIterator[Service]:
    """Load the models, and open the service around them."""
    from starlette.concurrency import run_in_threadpool

    from rag.models.registry import load_embedder, load_llm
    from rag.service.service import opened

    models = settings.models
    embedder = await run_in_threadpool(load_embedder, models.embedder)
    llm = await run_in_threadpool(load_llm, models.llm) if models.llm else None
    async with opened(settings, collections, embedder, llm) as service:
        yield service

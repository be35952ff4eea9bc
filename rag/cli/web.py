"""`rag web`: searching the web and reading pages of it."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from rag.cli.exit_codes import ExitCode
from rag.cli.output import console, json_option, print_json
from rag.cli.progress import working
from rag.cli.retrieval import embedder_option, top_k_option
from rag.cli.search import print_hit
from rag.cli.web_options import Fetching, Searching, fetching_options, searching_options
from rag.core.errors import BatchError, FetchFailed
from rag.core.web import Page


@click.group()
def web() -> None:
    """Search the web, and read pages of it."""


@web.command()
@click.argument("query")
@top_k_option
@embedder_option
@click.option("--lexical", is_flag=True, help="Rank by words only; no model is loaded.")
@searching_options
@json_option
def search(
    query: str,
    top_k: int,
    embedder_name: str,
    lexical: bool,
    searching: Searching,
    as_json: bool,
) -> None:
    """Find the passages of the web that match QUERY best.

    An engine finds pages; those that look best are fetched, read, and ranked by what they say.
    """
    from rag.models.registry import load_embedder

    embedder = None if lexical else load_embedder(embedder_name)
    with searching.retriever(embedder) as retriever, working("searching the web"):
        began = time.perf_counter()
        ranking = retriever.find(query, top_k)
        seconds = time.perf_counter() - began
    for shortfall in ranking.shortfalls:
        click.secho(f"note: {shortfall}", fg="yellow", err=True)
    if as_json:
        print_json({"query": query, "seconds": seconds} | asdict(ranking))
        return
    for number, hit in enumerate(ranking.hits, start=1):
        print_hit(number, hit)
    used = ranking.usage
    click.echo(
        f"searches {used.searches}, pages {used.fetches}; {seconds:.1f} s"
        if ranking.hits
        else "nothing found"
    )


@web.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--links", is_flag=True, help="Print the links of each page after its text.")
@fetching_options
@json_option
def read(urls: tuple[str, ...], links: bool, fetching: Fetching, as_json: bool) -> None:
    """Print the main text of pages as Markdown.

    Ends with exit code 7 if some of several pages could not be read.
    """
    with fetching.fetcher() as fetcher, working("fetching"):
        try:
            pages: tuple[Page | Exception, ...] = tuple(fetcher.fetch_many(urls))
        except BatchError as error:
            pages = error.results
    failed = [each for each in pages if isinstance(each, Exception)]
    if as_json:
        print_json({"pages": [_as_json(each) for each in pages]})
    for page in pages:
        if isinstance(page, Exception):
            click.secho(f"note: {page}", fg="yellow", err=True)
        elif not as_json:
            _print_page(page, links)
    if failed:
        raise click.exceptions.Exit(ExitCode.PARTIAL)


def _as_json(page: Page | Exception) -> object:
    if isinstance(page, FetchFailed):
        return {"url": page.url, "error": page.reason, "cause": page.cause}
    return {"error": str(page)} if isinstance(page, Exception) else page


def _print_page(page: Page, links: bool) -> None:
    out, document = console(), page.document
    out.print(document.title or document.uri, style="bold")
    kept = ", from the cache" if page.from_cache else ""
    out.print(f"{document.uri}, {document.metadata['retrieved']}{kept}\n", style="dim")
    out.print(f"{document.text}\n")
    for link in page.links if links else ():
        out.print(f"- {link.text}: {link.url}", style="dim")

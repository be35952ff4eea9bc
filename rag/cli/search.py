"""`rag search`: passages that match a query."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from rag.cli.output import console, json_option, print_json
from rag.cli.retrieval import (
    collection_argument,
    location,
    make_retriever,
    retriever_option,
    top_k_option,
    where_option,
)
from rag.core.hits import Hit


@click.command()
@collection_argument
@click.argument("query")
@retriever_option
@top_k_option
@where_option
@json_option
def search(
    collection: Path,
    query: str,
    retriever: str,
    top_k: int,
    where: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Find the passages of COLLECTION that match QUERY best."""
    from rag.indexes import Collection

    with Collection.open(collection) as opened:
        began = time.perf_counter()
        (hits,) = make_retriever(retriever, opened).search_many([query], top_k, where)
        seconds = time.perf_counter() - began
    if as_json:
        print_json({"query": query, "retriever": retriever, "seconds": seconds, "hits": hits})
    elif hits:
        for number, hit in enumerate(hits, start=1):
            _print_hit(number, hit)
    else:
        click.echo("nothing found")


def _print_hit(number: int, hit: Hit) -> None:
    out = console()
    parts = ", ".join(f"{name} {score:.4g}" for name, score in hit.scores.items())
    out.print(f"{number}. {hit.passage.label or hit.passage.document_id}", style="bold")
    out.print(f"   {hit.score:.4g} ({parts})  {location(hit.passage)}", style="dim")
    out.print(f"   {' '.join(hit.passage.text.split())}\n")

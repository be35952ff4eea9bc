"""`rag search`: passages that match a query."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rag.cli.contexts import contexts_folder, contexts_option, store_option
from rag.cli.output import console, json_option, print_json
from rag.cli.prompts import prompts_option
from rag.cli.reranking import (
    candidates_option,
    make_reranker,
    ranking_llm,
    rerank_option,
    reranker_options,
)
from rag.cli.retrieval import (
    device_option,
    llm_option,
    location,
    location_argument,
    make_retriever,
    retriever_option,
    top_k_option,
    where_option,
)
from rag.core.hits import Hit


@click.command()
@location_argument
@click.argument("query")
@retriever_option
@top_k_option
@where_option
@device_option
@rerank_option
@candidates_option
@llm_option
@reranker_options
@prompts_option
@contexts_option
@store_option
@json_option
def search(
    collection: str | Path,
    query: str,
    retriever: str,
    top_k: int,
    where: dict[str, Any] | None,
    device: str,
    method: str | None,
    candidates: int,
    llm_name: str,
    options: dict[str, int],
    prompt_folder: Path | None,
    contexts: str,
    store: Path | None,
    as_json: bool,
) -> None:
    """Find the passages of COLLECTION that match QUERY best."""
    from rag.core.rankings import Ranking
    from rag.indexes import open_collection

    with open_collection(collection, device=device) as opened:
        found = make_retriever(retriever, opened)
        reranker = encoding = None
        if method:
            states = contexts_folder(contexts, store, collection)
            llm, encoding = ranking_llm(method, llm_name, contexts, states, prompt_folder)
            reranker = make_reranker(method, llm, prompt_folder, options)
        began = time.perf_counter()
        (hits,) = found.search_many([query], max(top_k, candidates) if reranker else top_k, where)
        ranking = reranker.rerank(query, hits, top_k) if reranker else Ranking(tuple(hits))
        seconds = time.perf_counter() - began
    for shortfall in ranking.shortfalls:
        click.secho(f"note: {shortfall}", fg="yellow", err=True)
    if as_json:
        about = {
            "query": query,
            "retriever": retriever,
            "reranker": method,
            "contexts": encoding,
            "seconds": seconds,
        }
        print_json(about | asdict(ranking))
    elif ranking.hits:
        for number, hit in enumerate(ranking.hits, start=1):
            print_hit(number, hit)
        if encoding:
            click.echo(f"contexts: {encoding}")
    else:
        click.echo("nothing found")


def print_hit(number: int, hit: Hit) -> None:
    """Print a hit: its label, its scores and place, its text."""
    out = console()
    parts = ", ".join(f"{name} {score:.4g}" for name, score in hit.scores.items())
    out.print(f"{number}. {hit.passage.label or hit.passage.document_id}", style="bold")
    out.print(f"   {hit.score:.4g} ({parts})  {location(hit.passage)}", style="dim")
    out.print(f"   {' '.join(hit.passage.text.split())}\n")

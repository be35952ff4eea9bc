"""Options that searching and asking share, and the retriever that they choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.models.registry import DEFAULT_EMBEDDER, DEFAULT_LLM

if TYPE_CHECKING:
    from rag.core.answers import Citation
    from rag.core.documents import Passage
    from rag.core.protocols import Retriever
    from rag.indexes import Collection

RETRIEVERS = ("hybrid", "dense", "lexical")

collection_argument = click.argument("collection", type=click.Path(path_type=Path))
retriever_option = click.option(
    "--retriever",
    type=click.Choice(RETRIEVERS),
    default="hybrid",
    show_default=True,
    help="Search by meaning (dense), by words (lexical), or by both.",
)


def _parse_where(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        where = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", ctx, param) from error
    if not isinstance(where, dict):
        raise click.BadParameter('not a JSON object, such as \'{"lang": "en"}\'', ctx, param)
    return where


where_option = click.option(
    "--where",
    callback=_parse_where,
    metavar="JSON",
    help='Only documents with this metadata, as JSON: \'{"year": {"gte": 2020}}\'.',
)
embedder_option = click.option(
    "--embedder",
    "embedder_name",
    default=DEFAULT_EMBEDDER,
    show_default=True,
    help="Model that embeds: a name of `rag models`, a path, or a name of the hub.",
)
llm_option = click.option(
    "--llm",
    "llm_name",
    default=DEFAULT_LLM,
    show_default=True,
    help="Model that reads: a name of `rag models`, a path, a name of the hub, or MODEL@URL of a "
    "server.",
)
top_k_option = click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Passages to find."
)


def make_retriever(kind: str, collection: Collection) -> Retriever:
    """Return the retriever of a collection that `--retriever` names."""
    from rag.retrievers import DenseRetriever, HybridRetriever, LexicalRetriever

    if kind == "dense":
        return DenseRetriever(collection)
    if kind == "lexical":
        return LexicalRetriever(collection)
    return HybridRetriever(collection)


def location(place: Passage | Citation) -> str:
    """Say where a passage or a quote is: its document and the characters."""
    return f"{place.document_id}, characters {place.start} to {place.end}"

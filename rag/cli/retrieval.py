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
    from rag.indexes import AnyCollection

RETRIEVERS = ("hybrid", "dense", "lexical")

MILVUS = "milvus:"


def as_location(text: str) -> str | Path:
    """Return where a collection is: a directory, or 'milvus:URI#NAME' as it is."""
    return text if text.startswith(MILVUS) else Path(text)


class _Location(click.ParamType[str | Path]):
    """A collection's directory, or its location on Milvus where a command works there, too."""

    name = "location"

    def __init__(self, *, milvus: bool) -> None:
        self._milvus = milvus

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        location = as_location(str(value))
        if isinstance(location, str) and not self._milvus:
            self.fail(
                "this command works on a directory; `rag index export` and `rag index import` "
                "move a collection from Milvus to one",
                param,
                ctx,
            )
        return location


collection_argument = click.argument("collection", type=_Location(milvus=False))
location_argument = click.argument("collection", type=_Location(milvus=True))
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
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Where vectors are searched: cpu, cuda (all GPUs), cuda:N, or auto, by size and memory.",
)
top_k_option = click.option(
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Passages to find."
)


def make_retriever(kind: str, collection: AnyCollection) -> Retriever:
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

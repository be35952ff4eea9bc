"""Where documents came from, as far as callers may know: not where files lie on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rag.core.answers import Citation
from rag.core.hits import Hit


def shown_uri(uri: str) -> str:
    """Return a document's URI; '' for a file of this machine."""
    return "" if uri.startswith("file:") else uri


def shown_hits(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """Return hits as callers may see them."""
    return tuple(map(_shown, hits))


def _shown(hit: Hit) -> Hit:
    uri = shown_uri(hit.passage.uri)
    return hit if uri == hit.passage.uri else replace(hit, passage=replace(hit.passage, uri=uri))


def shown_citations(citations: Sequence[Citation]) -> tuple[Citation, ...]:
    """Return citations as callers may see them."""
    return tuple(replace(each, uri=shown_uri(each.uri)) for each in citations)

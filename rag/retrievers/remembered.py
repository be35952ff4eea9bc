"""Searches that were made before."""

from __future__ import annotations

from collections.abc import Sequence

from rag.core.errors import InputError
from rag.core.filters import Where
from rag.core.hits import Hit
from rag.core.protocols import Retriever


class RememberedRetriever:
    """Makes each search once, for runs that ask the same of several pipelines.

    A search for fewer hits than one before takes the first of those. What was found is in memory
    until this object is gone.

    Args:
        retriever: What searches.
    """

    def __init__(self, retriever: Retriever) -> None:
        self.name = retriever.name
        self._retriever = retriever
        self._found: dict[tuple[str, str], tuple[int, list[Hit]]] = {}

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return at most `top_k` hits for each query; see `Retriever.search_many`."""
        if top_k < 1:
            raise InputError(f"top_k is {top_k}; ask for 1 hit or more")
        new = [
            query
            for query in dict.fromkeys(queries)
            if self._found.get((query, repr(where)), (-1, []))[0] < top_k
        ]
        if new:
            for query, hits in zip(
                new, self._retriever.search_many(new, top_k, where), strict=True
            ):
                self._found[query, repr(where)] = top_k, hits
        return [self._found[query, repr(where)][1][:top_k] for query in queries]

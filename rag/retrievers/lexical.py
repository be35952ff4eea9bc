"""Search by words."""

from __future__ import annotations

from collections.abc import Sequence

from rag.core.filters import Where
from rag.core.hits import Hit
from rag.retrievers.base import CollectionRetriever


class LexicalRetriever(CollectionRetriever):
    """Finds the passages that share words with the query, by BM25.

    Args:
        collection: The collection; it stays the caller's to close.
    """

    name = "lexical"

    def _search(self, queries: Sequence[str], top_k: int, where: Where | None) -> list[list[Hit]]:
        return self.collection.search_lexical(queries, top_k, where)

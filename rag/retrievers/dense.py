"""Search by meaning."""

from __future__ import annotations

from collections.abc import Sequence

from rag.core.filters import Where
from rag.core.hits import Hit
from rag.retrievers.base import CollectionRetriever


class DenseRetriever(CollectionRetriever):
    """Finds the passages whose vectors are nearest to the query's.

    Args:
        collection: The collection; it stays the caller's to close.
    """

    name = "dense"

    def _search(self, queries: Sequence[str], top_k: int, where: Where | None) -> list[list[Hit]]:
        return self.collection.search_dense(queries, top_k, where)

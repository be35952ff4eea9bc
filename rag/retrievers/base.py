"""What the retrievers of a collection share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.core.errors import CollectionError, SearchFailed
from rag.core.filters import Where
from rag.core.hits import Hit

if TYPE_CHECKING:
    from rag.indexes import AnyCollection


class CollectionRetriever(ABC):
    """Finds passages of a collection.

    Args:
        collection: The collection; it stays the caller's to close.

    Attributes:
        name: What the retriever calls itself in scores and traces.
        batches_at_once: Batches that it works on side by side: while the passages of one are read,
            the queries of another are embedded.
    """

    name: str
    batches_at_once = 2

    def __init__(self, collection: AnyCollection) -> None:
        self.collection = collection

    def search(self, query: str, top_k: int = 10, where: Where | None = None) -> list[Hit]:
        """Return at most `top_k` hits for one query, best first; see `search_many`."""
        return self.search_many([query], top_k, where)[0]

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return at most `top_k` hits for each query, best first.

        Args:
            queries: Questions or keywords, as plain text.
            top_k: Hits for a query; fewer only if fewer passages match.
            where: A filter on the documents' metadata.

        Returns:
            A list for each query; an empty one means that nothing was found.

        Raises:
            SearchFailed: The search could not be carried out.
            InputError: A query, `top_k` or `where` cannot be used.
            ModelError: The embedder cannot be used.
        """
        try:
            return self._search(queries, top_k, where)
        except (CollectionError, OSError, RuntimeError) as error:
            raise SearchFailed(self.name, str(error)) from error

    @abstractmethod
    def _search(
        self, queries: Sequence[str], top_k: int, where: Where | None
    ) -> list[list[Hit]]: ...

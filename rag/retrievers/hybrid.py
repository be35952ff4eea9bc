"""Search by meaning and by words at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.core.filters import Where
from rag.core.hits import Hit
from rag.retrievers.base import CollectionRetriever
from rag.retrievers.fusion import Fusion, weighted_fusion

if TYPE_CHECKING:
    from rag.indexes import AnyCollection

_CANDIDATES = 50


class HybridRetriever(CollectionRetriever):
    """Fuses a dense and a lexical ranking.

    Each part contributes its best 50 passages, or `top_k` where that is more: a passage that only
    one part ranks high has to be known to the other. Any `top_k` up to 50 cuts the same ranking.

    Args:
        collection: The collection; it stays the caller's to close.
        fusion: Makes one ranking of the dense and the lexical one, in that order, by scores, ranks
            and ids; passages are read afterwards.
    """

    name = "hybrid"

    def __init__(self, collection: AnyCollection, fusion: Fusion = weighted_fusion) -> None:
        super().__init__(collection)
        self.fusion = fusion

    def _search(self, queries: Sequence[str], top_k: int, where: Where | None) -> list[list[Hit]]:
        return self.collection.search_fused(
            queries, top_k, where, candidates=max(_CANDIDATES, top_k), fusion=self.fusion
        )

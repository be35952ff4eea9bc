"""Search in several places at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace

from rag.core.errors import FlowRefused, InputError
from rag.core.filters import Where
from rag.core.hits import Hit
from rag.core.protocols import Retriever
from rag.core.search_operations import Search
from rag.core.web import TimeRange
from rag.retrievers.fusion import reciprocal_rank_fusion
from rag.retrievers.program import ProgramRetriever
from rag.retrievers.side_by_side import search_all


class FederatedRetriever(ProgramRetriever):
    """Searches several retrievers, such as a collection and the web, and shares out the hits.

    Scores of different sources cannot be compared, so their orders are merged: a hit scores its
    source's weight divided by its rank there. That is d'Hondt's method of highest averages: of any
    first k hits, each source has a share in proportion to its weight. A source that fails is noted
    and left out. Ids of passages begin with the source's name, 'web:…', for those of two sources
    might be the same.

    Args:
        retrievers: The sources by name.
        weights: Weights of sources, at least 0; a source that is not named has 1, and one with 0
            is not searched.

    Raises:
        InputError: A weight is below 0 or is none of a source, or no source has one above 0.
    """

    name = "federated"

    def __init__(
        self, retrievers: Mapping[str, Retriever], weights: Mapping[str, float] | None = None
    ) -> None:
        weights = weights or {}
        if unknown := weights.keys() - retrievers.keys():
            raise InputError(
                f"weights name {', '.join(sorted(unknown))}; there are {', '.join(retrievers)}"
            )
        for name, weight in weights.items():
            if not weight >= 0:
                raise InputError(f"the weight of {name} is {weight}; it must be at least 0")
        self.weights = {name: weights.get(name, 1.0) for name in retrievers}
        self.retrievers = {
            name: retriever for name, retriever in retrievers.items() if self.weights[name] > 0
        }
        if not self.retrievers:
            raise InputError("no source has a weight above 0; there is nothing to search")

    def within(self, time_range: TimeRange | None) -> FederatedRetriever:
        """Return a copy in which sources that know how old texts are keep to a time range."""
        other = copy(self)
        other.retrievers = {
            name: retriever.within(time_range) if hasattr(retriever, "within") else retriever
            for name, retriever in self.retrievers.items()
        }
        return other

    async def program(self, query: str, top_k: int, where: Where | None = None) -> list[Hit]:
        """Return at most `top_k` hits of all sources, best first.

        Raises:
            SearchFailed: Every source failed.
            BudgetExhausted: Every source failed, at least one for want of budget.
        """
        found = await search_all(
            self.name,
            [Search(query, top_k, where, retriever) for retriever in self.retrievers.values()],
            FlowRefused,
        )
        rankings = [
            _marked(name, hits or ()) for name, hits in zip(self.retrievers, found, strict=True)
        ]
        weights = [self.weights[name] for name in self.retrievers]
        return reciprocal_rank_fusion(rankings, k=0, weights=weights)[:top_k]


def _marked(source: str, hits: Sequence[Hit]) -> list[Hit]:
    """Say of each hit which source it is from, and what place it had there."""
    return [
        replace(
            hit,
            passage=replace(hit.passage, id=f"{source}:{hit.passage.id}"),
            scores={**hit.scores, source: hit.score},
            ranks={**hit.ranks, source: rank},
        )
        for rank, hit in enumerate(hits, start=1)
    ]

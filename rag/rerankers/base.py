"""What all rerankers share: a program, and ways to run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import BatchError, InputError
from rag.core.events import Outcome
from rag.core.hits import Hit
from rag.core.operations import Program
from rag.core.rankings import Ranking


class Reranker(ABC):
    """Puts hits into a better order; subclasses give the program.

    A reranker is a program like a pipeline: others await it, and the engine batches the calls of
    many questions. No hit is lost: all of them are in the order, of which `top_k` are returned.

    Attributes:
        name: What the reranker calls itself in the scores of hits.
    """

    name: str

    @abstractmethod
    def program(
        self, query: str, hits: Sequence[Hit], top_k: int | None = None
    ) -> Program[Ranking]:
        """Return the program that reranks the hits of a query.

        Args:
            query: What was looked for.
            hits: What was found, best first.
            top_k: Hits to return; all of them unless given. Methods that can do with fewer calls
                do so.
        """

    def rerank(
        self,
        query: str,
        hits: Sequence[Hit],
        top_k: int | None = None,
        *,
        budget: Budget | None = None,
    ) -> Ranking:
        """Rerank the hits of one query.

        Args:
            query: What was looked for.
            hits: What was found, best first.
            top_k: Hits to return; all of them unless given.
            budget: What the query may use; where it ends the work early, the ranking has the order
                so far and says so.

        Raises:
            InputError: `top_k` is less than 1.
            ModelError: The model cannot do what the method needs, or every call of it failed.
        """
        outcomes = Engine().run_many([self.program(query, hits, top_k)], budget=budget)
        return metered(outcomes[0])

    def rerank_many(
        self,
        queries: Sequence[str],
        found: Sequence[Sequence[Hit]],
        top_k: int | None = None,
        *,
        budget: Budget | None = None,
    ) -> list[Ranking]:
        """Rerank the hits of many queries side by side, in batches over all of them.

        Args:
            queries: What was looked for.
            found: What was found for each, best first.
            top_k: Hits to return for each; all of them unless given.
            budget: What each query may use.

        Raises:
            InputError: There are not as many lists of hits as queries.
            BatchError: Some queries failed; the others' rankings are inside.
        """
        if len(queries) != len(found):
            raise InputError(f"{len(queries)} queries but {len(found)} lists of hits")
        programs = [
            self.program(query, hits, top_k) for query, hits in zip(queries, found, strict=True)
        ]
        outcomes = Engine().run_many(programs, budget=budget)
        if any(outcome.error for outcome in outcomes):
            raise BatchError([outcome.error or metered(outcome) for outcome in outcomes])
        return [metered(outcome) for outcome in outcomes]


def metered(outcome: Outcome[Ranking]) -> Ranking:
    """Return the ranking of an outcome with what it used, or raise its error."""
    ranking = outcome.unwrap()
    return replace(
        ranking,
        usage=outcome.usage,
        stages=tuple(outcome.stages.items()),
        notes=(*outcome.notes, *ranking.notes),
    )


def limit(count: int, top_k: int | None) -> int:
    """Return how many of so many hits are wanted.

    Raises:
        InputError: `top_k` is less than 1.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; it must be at least 1")
    return count if top_k is None else min(count, top_k)


def reordered(
    name: str, hits: Sequence[Hit], order: Sequence[int], scores: Sequence[float]
) -> tuple[Hit, ...]:
    """Return hits in an order, each with its new score and where it was before.

    Args:
        name: What the reranker calls itself.
        hits: The hits as they were retrieved.
        order: Their places, best first, as many as are wanted.
        scores: A score for each place of `order`, none higher than the one before.
    """
    return tuple(
        replace(
            hits[place],
            score=score,
            scores={"retrieved": hits[place].score, **hits[place].scores, name: score},
            ranks={"retrieved": place + 1, **hits[place].ranks, name: rank},
        )
        for rank, (place, score) in enumerate(zip(order, scores, strict=True), start=1)
    )

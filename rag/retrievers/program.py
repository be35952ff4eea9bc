"""Retrievers that are programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import BatchError, InputError
from rag.core.events import Outcome
from rag.core.filters import Where, parse_where
from rag.core.hits import Hit
from rag.core.operations import Program
from rag.core.rankings import Ranking


class ProgramRetriever(ABC):
    """Finds passages with a program; subclasses give it.

    Inside a pipeline the engine runs the program in place of a `Search`, so that what it awaits is
    batched with that of other questions, metered, limited and noted like all else.

    Attributes:
        name: What the retriever calls itself in scores and traces.
    """

    name: str

    @abstractmethod
    def program(self, query: str, top_k: int, where: Where | None = None) -> Program[list[Hit]]:
        """Return the program that searches for one query.

        Args:
            query: A question or keywords.
            top_k: Hits at most, at least 1.
            where: A filter on the metadata of documents.
        """

    def find(
        self,
        query: str,
        top_k: int = 10,
        where: Where | None = None,
        *,
        budget: Budget | None = None,
    ) -> Ranking:
        """Return at most `top_k` hits for one query, what the search used and what fell short.

        Args:
            query: A question or keywords.
            top_k: Hits at most.
            where: A filter on the metadata of documents.
            budget: What the search may use.

        Raises:
            SearchFailed: The search could not be carried out.
            InputError: `top_k` or `where` cannot be used.
        """
        return _ranking(self._run([query], top_k, where, budget)[0])

    def search(self, query: str, top_k: int = 10, where: Where | None = None) -> list[Hit]:
        """Return at most `top_k` hits for one query, best first; `find` says what fell short."""
        return self.search_many([query], top_k, where)[0]

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return at most `top_k` hits for each query; see `Retriever.search_many`.

        Raises:
            BatchError: Some of several searches failed; the others' hits are inside.
        """
        outcomes = self._run(queries, top_k, where)
        failed = any(outcome.error for outcome in outcomes)
        if failed and len(outcomes) > 1:
            raise BatchError([outcome.error or outcome.value for outcome in outcomes])
        return [outcome.unwrap() for outcome in outcomes]

    def _run(
        self,
        queries: Sequence[str],
        top_k: int,
        where: Where | None,
        budget: Budget | None = None,
    ) -> list[Outcome[list[Hit]]]:
        if top_k < 1:
            raise InputError(f"top_k is {top_k}; ask for 1 hit or more")
        parse_where(where or {})
        programs = [self.program(query, top_k, where) for query in queries]
        return Engine().run_many(programs, budget=budget)


def _ranking(outcome: Outcome[list[Hit]]) -> Ranking:
    return Ranking(
        tuple(outcome.unwrap()),
        notes=outcome.notes,
        usage=outcome.usage,
        stages=tuple(outcome.stages.items()),
    )

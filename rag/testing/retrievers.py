"""A search engine whose results you state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.core.filters import Where, matches, parse_where
from rag.core.hits import Hit


class FixedRetriever:
    """Searches the passages it is given, by counting words, or returns what it is told to.

    A passage scores the share of the query's words that are in its label and text, upper and lower
    case alike; one without any is not returned. Equal scores keep the order of the passages. A
    text stands for a passage of a document of its own.

    Args:
        passages: What is searched.
        results: For some queries, the passages to return instead, best first; the n-th scores 1/n.
        name: What the retriever calls itself.

    Attributes:
        queries: Every query so far, in order.
    """

    def __init__(
        self,
        passages: Iterable[Passage | str] = (),
        *,
        results: Mapping[str, Sequence[Passage | str]] | None = None,
        name: str = "fixed",
    ) -> None:
        self.name = name
        self.queries: list[str] = []
        self._passages = _passages(passages)
        self._results = {query: _passages(each) for query, each in (results or {}).items()}

    def search(self, query: str, top_k: int = 10, where: Where | None = None) -> list[Hit]:
        """Return at most `top_k` hits for one query, best first."""
        return self.search_many([query], top_k, where)[0]

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return at most `top_k` hits for each query, best first.

        Raises:
            InputError: `top_k` is below 1.
            FilterError: `where` is malformed.
        """
        if top_k < 1:
            raise InputError(f"top_k is {top_k}; ask for 1 hit or more")
        condition = parse_where(where or {})
        self.queries.extend(queries)
        return [
            [
                Hit(passage, score, {self.name: score}, {self.name: rank})
                for rank, (passage, score) in enumerate(
                    [
                        (passage, score)
                        for passage, score in self._scored(query)
                        if matches(condition, passage.metadata)
                    ][:top_k],
                    start=1,
                )
            ]
            for query in queries
        ]

    def _scored(self, query: str) -> list[tuple[Passage, float]]:
        if query in self._results:
            return [(each, 1 / rank) for rank, each in enumerate(self._results[query], start=1)]
        words = set(query.lower().split())
        scored = [
            (each, len(words & set(each.indexed_text.lower().split())) / max(1, len(words)))
            for each in self._passages
        ]
        return sorted((each for each in scored if each[1]), key=lambda each: -each[1])


def _passages(given: Iterable[Passage | str]) -> list[Passage]:
    return [
        Passage(each, each, each, 0, len(each)) if isinstance(each, str) else each for each in given
    ]

"""A run reranked: the new run, and what it took."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rag.core.budgets import Budget
from rag.core.documents import Document, Passage
from rag.core.errors import BatchError, DataError, InputError, RagError
from rag.core.hits import Hit
from rag.core.progress import Progress, silent
from rag.core.rankings import Ranking, WindowStatus
from rag.core.usage import Usage
from rag.evaluation.datasets import Query
from rag.evaluation.runs import Run, in_order
from rag.rerankers.base import Reranker

_BATCH = 16


@dataclass(frozen=True, slots=True)
class RerankReport:
    """What reranking a run came to.

    Args:
        run: The new rankings, with every document of the old ones: those that were reranked come
            first, the others follow as they came. Scores are 1 / rank.
        outcomes: What came of each query that was reranked, by id, without its hits.
        errors: Why a query was not, by id; it keeps its old ranking.
        seconds: Time that it took.
    """

    run: Run
    outcomes: dict[str, Ranking]
    errors: dict[str, str]
    seconds: float

    @property
    def usage(self) -> Usage:
        """What all queries used; what those used that failed is not known."""
        return sum((each.usage for each in self.outcomes.values()), Usage())

    @property
    def statuses(self) -> dict[WindowStatus, int]:
        """How many windows came to what."""
        return dict(Counter(w.status for each in self.outcomes.values() for w in each.windows))

    @property
    def incomplete(self) -> list[str]:
        """The queries whose ranking a budget ended early."""
        return [query_id for query_id, each in self.outcomes.items() if not each.complete]

    @property
    def notes(self) -> dict[str, int]:
        """What fell short, up to the colon after which each query has its own, and how often."""
        notes = (note for each in self.outcomes.values() for note in each.notes)
        return dict(Counter(note.partition(":")[0] for note in notes))


def rerank_run(
    reranker: Reranker,
    queries: Iterable[Query],
    run: Run,
    documents: Iterable[Document],
    *,
    depth: int = 100,
    top_k: int | None = None,
    budget: Budget | None = None,
    progress: Progress = silent,
) -> RerankReport:
    """Rerank the documents of a run.

    The reranker is given whole documents, each as one passage.

    Args:
        reranker: Puts the documents of a query in order.
        queries: The queries to rerank; others of the run are not in the new one.
        run: What a retriever returned for them.
        documents: The documents of the data set. They are read once, before any call of a model,
            and those to rerank are kept.
        depth: Documents of each ranking to rerank.
        top_k: How many of those are wanted in order; all of them unless given.
        budget: What each query may use.
        progress: Told of the queries that are reranked.

    Raises:
        DataError: The run has none of the queries, or ranks documents that are not there.
        InputError: `depth` is less than 1.
        RagError: None of the first queries could be reranked; the error is the first one's.
    """
    if depth < 1:
        raise InputError(f"depth is {depth}; it must be at least 1")
    ranked = [query for query in queries if query.id in run.rankings]
    if not ranked:
        raise DataError(str(run.path or run.name), "has none of the queries")
    passages = _passages(run, ranked, depth, documents)

    rankings = {}
    outcomes: dict[str, Ranking] = {}
    errors: dict[str, RagError] = {}
    began = time.perf_counter()
    for start in range(0, len(ranked), _BATCH):
        progress("reranking", start, len(ranked))
        batch = ranked[start : start + _BATCH]
        hits = [
            [Hit(passages[each.id], each.score) for each in run.rankings[query.id][:depth]]
            for query in batch
        ]
        results = _rerank(reranker, [query.text for query in batch], hits, top_k, budget)
        for query, result in zip(batch, results, strict=True):
            order = [each.id for each in run.rankings[query.id]]
            if isinstance(result, RagError):
                errors[query.id] = result
            else:
                outcomes[query.id] = replace(result, hits=())
                order = [*(hit.passage.document_id for hit in result.hits), *order]
            rankings[query.id] = in_order(dict.fromkeys(order))
        if not outcomes:
            raise errors[ranked[0].id]
    progress("reranking", len(ranked), len(ranked))
    return RerankReport(
        Run(reranker.name, rankings),
        outcomes,
        {query_id: str(error) for query_id, error in errors.items()},
        time.perf_counter() - began,
    )


def _passages(
    run: Run, queries: Iterable[Query], depth: int, documents: Iterable[Document]
) -> dict[str, Passage]:
    """Return the first documents of the queries by id, each as one passage."""
    wanted = {each.id: query.id for query in queries for each in run.rankings[query.id][:depth]}
    passages = {each.id: _whole(each) for each in documents if each.id in wanted}
    for document_id, query_id in wanted.items():
        if document_id not in passages:
            reason = f"ranks {document_id} for query {query_id}, which is not among the documents"
            raise DataError(str(run.path or run.name), reason)
    return passages


def _whole(document: Document) -> Passage:
    return Passage(
        document.id,
        document.id,
        document.text,
        0,
        len(document.text),
        document.title,
        uri=document.uri,
        metadata=document.metadata,
    )


def _rerank(
    reranker: Reranker,
    queries: Sequence[str],
    found: Sequence[Sequence[Hit]],
    top_k: int | None,
    budget: Budget | None,
) -> Sequence[Ranking | RagError]:
    try:
        return reranker.rerank_many(queries, found, top_k, budget=budget)
    except BatchError as error:
        for result in error.results:
            if isinstance(result, Exception) and not isinstance(result, RagError):
                raise result from None  # no ranking went wrong, but the program
        return error.results

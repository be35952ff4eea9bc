"""How well a retriever finds the relevant documents of a data set."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rag.core.hits import Hit
from rag.core.progress import Progress, silent
from rag.core.protocols import Retriever
from rag.evaluation.datasets import RetrievalDataset
from rag.evaluation.metrics import Metric
from rag.evaluation.runs import RankedDocument, Run

METRICS = ("nDCG@10", "recall@100", "MRR@10")

_PASSAGES = 200
_BATCH = 64


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """What a retriever scored on a data set.

    Args:
        dataset: Name of the data set.
        run: The rankings.
        values: For each metric, by name, its value for each query id.
        seconds: Time that searching took, after one search to warm up.
    """

    dataset: str
    run: Run
    values: dict[str, dict[str, float]]
    seconds: float

    @property
    def means(self) -> dict[str, float]:
        """The mean of each metric over the queries."""
        return {metric: fmean(values.values()) for metric, values in self.values.items()}

    @property
    def queries_per_second(self) -> float:
        """How many queries were searched in a second."""
        return len(self.run.rankings) / self.seconds


def evaluate_retrieval(
    dataset: RetrievalDataset,
    retriever: Retriever,
    metrics: Iterable[str] = METRICS,
    *,
    top_k: int = _PASSAGES,
    progress: Progress = silent,
) -> RetrievalReport:
    """Search for every query of a data set, and score the rankings.

    A retriever ranks passages and a data set judges documents: a document counts where its best
    passage ranks.

    Args:
        dataset: The queries and their judgements.
        retriever: Searches the data set's documents.
        metrics: Names such as 'nDCG@10', 'recall@100', 'MRR@10', 'precision@5', 'MAP@100'.
        top_k: Passages to find for a query; more than the documents that a metric looks at, since
            several can be of one document.
        progress: Told of the queries that are searched.

    Raises:
        InputError: There is no metric of such a name.
        SearchFailed: A search could not be carried out.
    """
    parsed = [Metric.parse(name) for name in metrics]
    texts = [query.text for query in dataset.queries]
    retriever.search_many(texts[:1], top_k)

    found: list[list[Hit]] = []
    began = time.perf_counter()
    for start in range(0, len(texts), _BATCH):
        found += retriever.search_many(texts[start : start + _BATCH], top_k)
        progress("searching", len(found), len(texts))
    seconds = time.perf_counter() - began

    run = Run(
        retriever.name,
        {
            query.id: _rank_documents(hits)
            for query, hits in zip(dataset.queries, found, strict=True)
        },
    )
    values = {str(metric): run.evaluate(dataset.judgements, metric) for metric in parsed}
    return RetrievalReport(dataset.name, run, values, seconds)


def _rank_documents(hits: Sequence[Hit]) -> list[RankedDocument]:
    best: dict[str, float] = {}
    for hit in hits:
        best.setdefault(hit.passage.document_id, hit.score)
    return [RankedDocument(*item) for item in best.items()]

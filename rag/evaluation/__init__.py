"""Evaluation: data sets, metrics of rankings and answers, runs, and tests of significance."""

from __future__ import annotations

from rag.evaluation.answers import AnswerReport, evaluate_answers
from rag.evaluation.datasets import Query, RetrievalDataset, read_dataset
from rag.evaluation.metrics import Metric
from rag.evaluation.reranking import RerankReport, rerank_run
from rag.evaluation.retrieval import RetrievalReport, evaluate_retrieval
from rag.evaluation.runs import RankedDocument, Run
from rag.evaluation.significance import Comparison, compare

__all__ = [
    "AnswerReport",
    "Comparison",
    "Metric",
    "Query",
    "RankedDocument",
    "RerankReport",
    "RetrievalDataset",
    "RetrievalReport",
    "Run",
    "compare",
    "evaluate_answers",
    "evaluate_retrieval",
    "read_dataset",
    "rerank_run",
]

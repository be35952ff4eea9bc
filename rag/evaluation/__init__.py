"""Evaluation: data sets, retrieval metrics, runs, and tests of significance."""

from __future__ import annotations

from rag.evaluation.datasets import Query, RetrievalDataset, read_dataset
from rag.evaluation.metrics import Metric
from rag.evaluation.retrieval import RetrievalReport, evaluate_retrieval
from rag.evaluation.runs import RankedDocument, Run
from rag.evaluation.significance import Comparison, compare

__all__ = [
    "Comparison",
    "Metric",
    "Query",
    "RankedDocument",
    "RetrievalDataset",
    "RetrievalReport",
    "Run",
    "compare",
    "evaluate_retrieval",
    "read_dataset",
]

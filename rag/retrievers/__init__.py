"""Retrievers: find passages by meaning, by words, or by both."""

from __future__ import annotations

from rag.retrievers.dense import DenseRetriever
from rag.retrievers.examples import ExampleRetriever
from rag.retrievers.fusion import Fusion, reciprocal_rank_fusion, weighted_fusion
from rag.retrievers.hybrid import HybridRetriever
from rag.retrievers.lexical import LexicalRetriever
from rag.retrievers.remembered import RememberedRetriever

__all__ = [
    "DenseRetriever",
    "ExampleRetriever",
    "Fusion",
    "HybridRetriever",
    "LexicalRetriever",
    "RememberedRetriever",
    "reciprocal_rank_fusion",
    "weighted_fusion",
]

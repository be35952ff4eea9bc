"""Retrievers: find passages by meaning, by words, on the web, or in several places at once."""

from __future__ import annotations

from rag.retrievers.dense import DenseRetriever
from rag.retrievers.examples import ExampleRetriever
from rag.retrievers.federated import FederatedRetriever
from rag.retrievers.fusion import Fusion, reciprocal_rank_fusion, weighted_fusion
from rag.retrievers.hybrid import HybridRetriever
from rag.retrievers.lexical import LexicalRetriever
from rag.retrievers.mixed_ranking import MixedWeights
from rag.retrievers.program import ProgramRetriever
from rag.retrievers.remembered import RememberedRetriever
from rag.retrievers.web import WebRetriever

__all__ = [
    "DenseRetriever",
    "ExampleRetriever",
    "FederatedRetriever",
    "Fusion",
    "HybridRetriever",
    "LexicalRetriever",
    "MixedWeights",
    "ProgramRetriever",
    "RememberedRetriever",
    "WebRetriever",
    "reciprocal_rank_fusion",
    "weighted_fusion",
]

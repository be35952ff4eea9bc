"""Retrieval-augmented generation and reasoning, cited and metered.

The names below load their modules when they are first used, so that `import rag` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.allocation.fitted import FittedAllocation
    from rag.core.allocations import Allocation
    from rag.core.answers import Answer, Citation
    from rag.core.async_engine import AsyncEngine
    from rag.core.budgets import Budget
    from rag.core.documents import Document, Passage
    from rag.core.engine import Engine
    from rag.core.errors import BudgetExhausted, RagError
    from rag.core.generation import Prompt, Sampling
    from rag.core.hits import Hit
    from rag.core.usage import Usage
    from rag.indexes.collection import Collection
    from rag.models.registry import load_embedder, load_llm
    from rag.pipelines.allocate import allocate
    from rag.pipelines.drag import DRAG
    from rag.pipelines.extractive import ExtractiveRead
    from rag.pipelines.few_shot_web import FewShotWeb
    from rag.pipelines.iter_drag import IterDRAG
    from rag.pipelines.permissive import PermissivePipeline
    from rag.pipelines.read import RetrieveAndRead
    from rag.pipelines.search_and_read import SearchAndRead
    from rag.rerankers.registry import load_reranker
    from rag.retrievers.dense import DenseRetriever
    from rag.retrievers.federated import FederatedRetriever
    from rag.retrievers.hybrid import HybridRetriever
    from rag.retrievers.lexical import LexicalRetriever
    from rag.retrievers.web import WebRetriever
    from rag.text.folders import read_documents
    from rag.web.engines import load_engine
    from rag.web.fetcher import WebFetcher

_MODULES = {
    "Allocation": "rag.core.allocations",
    "Answer": "rag.core.answers",
    "AsyncEngine": "rag.core.async_engine",
    "Budget": "rag.core.budgets",
    "BudgetExhausted": "rag.core.errors",
    "Citation": "rag.core.answers",
    "Collection": "rag.indexes.collection",
    "DRAG": "rag.pipelines.drag",
    "DenseRetriever": "rag.retrievers.dense",
    "Document": "rag.core.documents",
    "Engine": "rag.core.engine",
    "ExtractiveRead": "rag.pipelines.extractive",
    "FederatedRetriever": "rag.retrievers.federated",
    "FewShotWeb": "rag.pipelines.few_shot_web",
    "FittedAllocation": "rag.allocation.fitted",
    "Hit": "rag.core.hits",
    "HybridRetriever": "rag.retrievers.hybrid",
    "IterDRAG": "rag.pipelines.iter_drag",
    "LexicalRetriever": "rag.retrievers.lexical",
    "Passage": "rag.core.documents",
    "PermissivePipeline": "rag.pipelines.permissive",
    "Prompt": "rag.core.generation",
    "RagError": "rag.core.errors",
    "RetrieveAndRead": "rag.pipelines.read",
    "Sampling": "rag.core.generation",
    "SearchAndRead": "rag.pipelines.search_and_read",
    "Usage": "rag.core.usage",
    "WebFetcher": "rag.web.fetcher",
    "WebRetriever": "rag.retrievers.web",
    "allocate": "rag.pipelines.allocate",
    "load_embedder": "rag.models.registry",
    "load_engine": "rag.web.engines",
    "load_llm": "rag.models.registry",
    "load_reranker": "rag.rerankers.registry",
    "read_documents": "rag.text.folders",
}

__version__ = "0.1.0"
__all__ = [
    "DRAG",
    "Allocation",
    "Answer",
    "AsyncEngine",
    "Budget",
    "BudgetExhausted",
    "Citation",
    "Collection",
    "DenseRetriever",
    "Document",
    "Engine",
    "ExtractiveRead",
    "FederatedRetriever",
    "FewShotWeb",
    "FittedAllocation",
    "Hit",
    "HybridRetriever",
    "IterDRAG",
    "LexicalRetriever",
    "Passage",
    "PermissivePipeline",
    "Prompt",
    "RagError",
    "RetrieveAndRead",
    "Sampling",
    "SearchAndRead",
    "Usage",
    "WebFetcher",
    "WebRetriever",
    "allocate",
    "load_embedder",
    "load_engine",
    "load_llm",
    "load_reranker",
    "read_documents",
]


def __getattr__(name: str) -> Any:
    """Load what is exported when it is first asked for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'rag' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the exported names."""
    return [*__all__, "__version__"]

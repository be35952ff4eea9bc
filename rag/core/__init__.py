"""Nouns, operations, the engine, meters and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.core.allocations import Allocation
from rag.core.answers import Answer, Citation, Step
from rag.core.budgets import Allowance, Budget, Meter, Reservation
from rag.core.capabilities import Capability
from rag.core.documents import Document, Metadata, Passage, Scalar
from rag.core.engine import Engine
from rag.core.errors import (
    BatchError,
    BudgetExhausted,
    BudgetTooSmall,
    CallFailed,
    Cancelled,
    CollectionCorrupt,
    CollectionError,
    CollectionExists,
    CollectionLocked,
    CollectionNotFound,
    ContextOverflow,
    DataError,
    EngineFailed,
    FetchFailed,
    FilterError,
    FlowRefused,
    InputError,
    LoadError,
    ManifestMismatch,
    MissingExtra,
    ModelError,
    ModelNotFound,
    ProgramError,
    RagError,
    SearchFailed,
    StorageError,
    Unsupported,
)
from rag.core.events import Event, Finished, Outcome, Started, TextDelta
from rag.core.filters import Where, matches, parse_where
from rag.core.generation import (
    ContinuationScore,
    ModelCall,
    NextTokenScores,
    Prompt,
    Reply,
    Sampling,
    TokenLogprob,
)
from rag.core.hits import Hit
from rag.core.operations import (
    CountTokens,
    Generate,
    LeafOp,
    Limited,
    NextToken,
    Note,
    Op,
    Program,
    Remaining,
    Restricted,
    Score,
    together,
)
from rag.core.progress import Progress
from rag.core.protocols import LLM, Embedder, Fetcher, Retriever, SearchEngine, Vectors
from rag.core.rankings import Ranking, WindowReport
from rag.core.search_operations import Embed, Fetch, Search, SearchWeb
from rag.core.sensitivity import INTERNAL, PUBLIC, Sensitivity
from rag.core.templates import Template, load_template, templates
from rag.core.usage import Prices, Usage
from rag.core.web import Link, Page, WebQuery, WebResult, WebResults
from rag.core.worked_examples import WorkedExample

if TYPE_CHECKING:
    from rag.core.async_engine import AsyncEngine

__all__ = [
    "INTERNAL",
    "LLM",
    "PUBLIC",
    "Allocation",
    "Allowance",
    "Answer",
    "AsyncEngine",
    "BatchError",
    "Budget",
    "BudgetExhausted",
    "BudgetTooSmall",
    "CallFailed",
    "Cancelled",
    "Capability",
    "Citation",
    "CollectionCorrupt",
    "CollectionError",
    "CollectionExists",
    "CollectionLocked",
    "CollectionNotFound",
    "ContextOverflow",
    "ContinuationScore",
    "CountTokens",
    "DataError",
    "Document",
    "Embed",
    "Embedder",
    "Engine",
    "EngineFailed",
    "Event",
    "Fetch",
    "FetchFailed",
    "Fetcher",
    "FilterError",
    "Finished",
    "FlowRefused",
    "Generate",
    "Hit",
    "InputError",
    "LeafOp",
    "Limited",
    "Link",
    "LoadError",
    "ManifestMismatch",
    "Metadata",
    "Meter",
    "MissingExtra",
    "ModelCall",
    "ModelError",
    "ModelNotFound",
    "NextToken",
    "NextTokenScores",
    "Note",
    "Op",
    "Outcome",
    "Page",
    "Passage",
    "Prices",
    "Program",
    "ProgramError",
    "Progress",
    "Prompt",
    "RagError",
    "Ranking",
    "Remaining",
    "Reply",
    "Reservation",
    "Restricted",
    "Retriever",
    "Sampling",
    "Scalar",
    "Score",
    "Search",
    "SearchEngine",
    "SearchFailed",
    "SearchWeb",
    "Sensitivity",
    "Started",
    "Step",
    "StorageError",
    "Template",
    "TextDelta",
    "TokenLogprob",
    "Unsupported",
    "Usage",
    "Vectors",
    "WebQuery",
    "WebResult",
    "WebResults",
    "Where",
    "WindowReport",
    "WorkedExample",
    "load_template",
    "matches",
    "parse_where",
    "templates",
    "together",
]


def __getattr__(name: str) -> Any:
    """Load what needs asyncio when it is first asked for (PEP 562)."""
    if name == "AsyncEngine":
        from rag.core.async_engine import AsyncEngine

        return AsyncEngine
    raise AttributeError(f"module 'rag.core' has no attribute '{name}'")

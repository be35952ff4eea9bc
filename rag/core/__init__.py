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
    FilterError,
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
    Op,
    Program,
    Remaining,
    Score,
    Search,
    together,
)
from rag.core.progress import Progress
from rag.core.protocols import LLM, Embedder, Retriever, Vectors
from rag.core.rankings import Ranking, WindowReport
from rag.core.templates import Template, load_template, templates
from rag.core.usage import Prices, Usage
from rag.core.worked_examples import WorkedExample

if TYPE_CHECKING:
    from rag.core.async_engine import AsyncEngine

__all__ = [
    "LLM",
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
    "Embedder",
    "Engine",
    "Event",
    "FilterError",
    "Finished",
    "Generate",
    "Hit",
    "InputError",
    "LeafOp",
    "Limited",
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
    "Op",
    "Outcome",
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
    "Retriever",
    "Sampling",
    "Scalar",
    "Score",
    "Search",
    "SearchFailed",
    "Started",
    "Step",
    "StorageError",
    "Template",
    "TextDelta",
    "TokenLogprob",
    "Unsupported",
    "Usage",
    "Vectors",
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

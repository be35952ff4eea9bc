"""Operations that find things: passages, pages of the web, vectors."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rag.core.budgets import Reservation
from rag.core.errors import FetchFailed
from rag.core.filters import Where
from rag.core.hits import Hit
from rag.core.operations import LeafOp
from rag.core.protocols import Embedder, Fetcher, Retriever, SearchEngine
from rag.core.sensitivity import PUBLIC, Sensitivity, sensitivity_of
from rag.core.usage import Usage
from rag.core.web import Page, WebQuery, WebResults

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Search(LeafOp[list[Hit]]):
    """Find passages.

    A retriever that has a program is not called: the engine runs its program in place of the
    operation, so that what it awaits is batched, metered and limited like all else.

    Args:
        query: What to look for.
        top_k: How many hits at most.
        where: Metadata filter.
        retriever: Where to look; the engine's retriever unless given.
        stage: Name under which the operation is metered.
    """

    backend_kind = "retriever"
    query: str
    top_k: int = 10
    where: Where | None = None
    retriever: Retriever | None = None
    stage: str = "search"

    @property
    def backend(self) -> Retriever | None:
        """The retriever that the operation names itself; None for the engine's."""
        return self.retriever

    @property
    def batch_key(self) -> Hashable:
        """Searches of one size and filter run together."""
        return self.top_k, repr(self.where)

    @classmethod
    def run(cls, backend: Retriever, ops: Sequence[Search]) -> Sequence[list[Hit]]:
        """Search for all queries at once."""
        return backend.search_many([op.query for op in ops], ops[0].top_k, ops[0].where)

    @classmethod
    def usage(cls, result: list[Hit]) -> Usage:
        """Return one search."""
        return Usage(searches=1)

    @classmethod
    def reads(cls, result: list[Hit]) -> Sensitivity:
        """Return the tags of all that was found."""
        return PUBLIC.union(*(hit.passage.sensitivity for hit in result))

    @classmethod
    def below(cls, result: list[Hit], ceiling: Sensitivity) -> list[Hit]:
        """Return the hits that are no more sensitive than a ceiling."""
        return [hit for hit in result if hit.passage.sensitivity <= ceiling]


@dataclass(frozen=True, slots=True)
class SearchWeb(LeafOp[WebResults]):
    """Ask a web search engine.

    Args:
        query: What to ask.
        engine: The engine.
        stage: Name under which the operation is metered.
    """

    backend_kind = "engine"
    query: WebQuery
    engine: SearchEngine
    stage: str = "search_web"

    @property
    def backend(self) -> SearchEngine:
        """The search engine."""
        return self.engine

    @classmethod
    def run(cls, backend: SearchEngine, ops: Sequence[SearchWeb]) -> Sequence[WebResults]:
        """Ask all queries side by side."""
        return backend.search_web([op.query for op in ops])

    @classmethod
    def needs(
        cls, backend: SearchEngine, ops: Sequence[SearchWeb], *, tokens: bool
    ) -> list[Reservation]:
        """Return the most that each search may cost."""
        return [Reservation(cost=backend.cost(op.query)) for op in ops]

    @classmethod
    def usage(cls, result: WebResults) -> Usage:
        """Return the search, its price and its retries."""
        return result.usage

    @classmethod
    def discloses(cls, backend: SearchEngine) -> Sensitivity:
        """Return what the engine may be told."""
        return backend.discloses


@dataclass(frozen=True, slots=True)
class Fetch(LeafOp[Page]):
    """Fetch and read a page of the web.

    Args:
        url: The page's URL.
        fetcher: What fetches it.
        stage: Name under which the operation is metered.
    """

    backend_kind = "fetcher"
    url: str
    fetcher: Fetcher
    stage: str = "fetch"

    @property
    def backend(self) -> Fetcher:
        """What fetches the page."""
        return self.fetcher

    @classmethod
    def run(cls, backend: Fetcher, ops: Sequence[Fetch]) -> Sequence[Page]:
        """Fetch all pages side by side."""
        return backend.fetch_many([op.url for op in ops])

    @classmethod
    def usage(cls, result: Page) -> Usage:
        """Return the page and its retries."""
        return Usage(fetches=1, retries=result.retries)

    @classmethod
    def reads(cls, result: Page) -> Sensitivity:
        """Return the page's tags."""
        return sensitivity_of(result.document.metadata)

    @classmethod
    def below(cls, result: Page, ceiling: Sensitivity) -> Page:
        """Return a page that is no more sensitive than a ceiling.

        Raises:
            FetchFailed: It is.
        """
        if cls.reads(result) <= ceiling:
            return result
        raise FetchFailed(result.url, "address", "it is more sensitive than this program may read")

    @classmethod
    def discloses(cls, backend: Fetcher) -> Sensitivity:
        """Return what any server may be told: a URL may hold anything."""
        return PUBLIC


@dataclass(frozen=True, slots=True)
class Embed(LeafOp["npt.NDArray[np.float32]"]):
    """Embed a text.

    Args:
        text: The text; one that is longer than the embedder reads fails.
        embedder: The embedder.
        role: Whether the text is a query or a passage.
        stage: Name under which the operation is metered.
    """

    backend_kind = "embedder"
    text: str
    embedder: Embedder
    role: Literal["query", "passage"] = "passage"
    stage: str = "embed"

    @property
    def backend(self) -> Embedder:
        """The embedder."""
        return self.embedder

    @property
    def batch_key(self) -> Hashable:
        """Queries run together, and so do passages."""
        return self.role

    @classmethod
    def run(cls, backend: Embedder, ops: Sequence[Embed]) -> Sequence[npt.NDArray[np.float32]]:
        """Embed all texts at once; a vector each."""
        texts = [op.text for op in ops]
        if ops[0].role == "query":
            return list(backend.embed_queries(texts))
        return list(backend.embed_passages(texts))

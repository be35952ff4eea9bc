"""What backends provide: embedders, language models, retrievers, search engines, fetchers.

Every method is batch first. Conformance suites for each protocol ship in `rag.testing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from rag.core.capabilities import Capability
from rag.core.filters import Where
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.progress import Progress, silent
from rag.core.sensitivity import Sensitivity
from rag.core.usage import Prices
from rag.core.web import Page, WebQuery, WebResults

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Vectors: TypeAlias = "npt.NDArray[np.float32]"
"""Embeddings, one a row: float32, shape (texts, dimension), C-contiguous."""


class Embedder(Protocol):
    """Turns texts into vectors.

    Attributes:
        name: Name that the registry resolves to this model.
        revision: Version of its weights.
        dimension: Length of a vector.
        max_tokens: Longest text it reads, special tokens included.
        query_prefix: Text put before queries.
        passage_prefix: Text put before passages.
        pooling: How token vectors become one: 'mean', 'cls', …
        normalized: Whether vectors have length 1.
    """

    name: str
    revision: str
    dimension: int
    max_tokens: int
    query_prefix: str
    passage_prefix: str
    pooling: str
    normalized: bool

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed queries; a query longer than `max_tokens` raises `InputError`."""

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        """Embed passages; one longer than `max_tokens` raises `InputError`."""

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return the character range of each token of each text, special tokens left out."""

    @property
    def special_tokens(self) -> int:
        """Tokens the model adds around every text."""


@runtime_checkable
class LLM(Protocol):
    """Writes and scores text.

    Attributes:
        name: Name that the registry resolves to this model.
        revision: Version of its weights and of how it is run, as far as known: kept replies are
            those of one revision.
        context_window: Tokens of prompt and reply together, at most.
        capabilities: What the backend can do; asking for more raises `Unsupported` before any
            token is spent.
        prices: What tokens cost, where they cost money.
    """

    name: str
    revision: str
    context_window: int
    capabilities: frozenset[Capability]
    prices: Prices | None

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt as `generate` would read it.

        Without the capability 'exact_counts' these are estimates.
        """

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a reply to each prompt.

        Raises:
            ContextOverflow: The only prompt and `max_tokens` exceed the window; nothing was run.
            BatchError: Some of several prompts failed, for that reason or another; the others'
                replies are inside.
        """

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield pieces of text as they are written, and the whole `Reply` last."""

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        """Return the log-probabilities of one continuation for each prompt."""

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        """Return the log-probability of each of `tokens` as the first token of the reply.

        Raises:
            InputError: One of `tokens` is not one token of this model.
        """


class Retriever(Protocol):
    """Finds passages.

    Attributes:
        name: What the retriever calls itself in scores and traces.
    """

    name: str

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return at most `top_k` hits for each query, best first.

        An empty list means that nothing was found.

        Raises:
            SearchFailed: The search could not be carried out.
            FilterError: `where` is malformed.
        """


class SearchEngine(Protocol):
    """Finds pages of the web.

    Attributes:
        name: What the engine calls itself in results and errors.
        discloses: The tags of what the engine may be told; a query that a program wrote after
            reading anything else is refused.
        capabilities: 'concurrent' where calls of several threads run side by side.
    """

    name: str
    discloses: Sensitivity
    capabilities: frozenset[Capability]

    def cost(self, query: WebQuery) -> float:
        """Return what a search costs at most, in a currency of your choice."""

    def search_web(self, queries: Sequence[WebQuery]) -> list[WebResults]:
        """Return what is found for each query; no results mean that nothing was found.

        Raises:
            EngineFailed: The only query could not be asked.
            BatchError: Some of several queries could not be asked; the others' results are inside.
        """


class Fetcher(Protocol):
    """Fetches and reads pages of the web.

    Attributes:
        capabilities: 'concurrent' where calls of several threads run side by side.
    """

    capabilities: frozenset[Capability]

    def fetch_many(self, urls: Sequence[str]) -> list[Page]:
        """Return the page of each URL.

        Raises:
            FetchFailed: The only page could not be fetched or read.
            BatchError: Some of several pages could not; the others are inside.
        """

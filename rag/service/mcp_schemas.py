"""What the tools of the MCP server return."""

from __future__ import annotations

from rag.core.answers import Citation
from rag.service.schemas import Reply


class FoundPassage(Reply):
    """A passage that a search found.

    Attributes:
        document: The document that it is a part of.
        title: The document's title, and the headings above the passage.
        uri: Where the document came from.
        start: First character in the document's text.
        end: One past the last.
        text: The passage.
        score: What the passages are ordered by, higher is better.
    """

    document: str
    title: str
    uri: str
    start: int
    end: int
    text: str
    score: float


class SearchResult(Reply):
    """What a search found; no passages mean that nothing was found.

    Attributes:
        collection: Where it was searched.
        passages: The passages, best first.
    """

    collection: str
    passages: tuple[FoundPassage, ...]


class AnswerResult(Reply):
    """An answer, what it rests on and what it used.

    Attributes:
        text: The answer; [1], [2], … are the numbers of citations.
        supported: Whether stored text supports it.
        citations: The ranges of documents that support it.
        notes: Whatever fell short on the way.
        pipeline: How it was answered.
        input_tokens: Tokens that the language model read.
        cached_tokens: Those of them that were not computed again.
        output_tokens: Tokens that it wrote.
        seconds: How long it took.
    """

    text: str
    supported: bool
    citations: tuple[Citation, ...]
    notes: tuple[str, ...]
    pipeline: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    seconds: float


class CollectionSummary(Reply):
    """A collection of documents.

    Attributes:
        name: What other tools call it.
        documents: How many documents it holds.
        passages: How many passages they are split into.
    """

    name: str
    documents: int
    passages: int


class Offer(Reply):
    """What can be searched, and how questions are answered.

    Attributes:
        collections: The collections.
        pipelines: The ways to answer, the default first.
        web: Whether answers from the web are enabled.
    """

    collections: tuple[CollectionSummary, ...]
    pipelines: tuple[str, ...]
    web: bool

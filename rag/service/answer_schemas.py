"""What requests and replies of the API look like: searches, answers, plans, feedback.

Nouns of the toolkit (`Passage`, `Hit`, `Citation`, `Usage`, …) stand in replies as they are.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, StrictBool

from rag.core.answers import Citation
from rag.core.hits import Hit
from rag.core.usage import Usage
from rag.service.library import RetrieverKind
from rag.service.schemas import Number, Reply, Request, Text, Whole
from rag.service.settings import Name


class SearchRequest(Request):
    """A search.

    Attributes:
        query: What to look for.
        top_k: Passages at most.
        retriever: By meaning ('dense'), by words ('lexical'), or by both.
        where: Only documents with this metadata, such as {"year": {"gte": 2020}}.
    """

    query: Text = Field(examples=["How do I enable WAL mode?"])
    top_k: Whole = Field(default=10, ge=1, le=1000)
    retriever: RetrieverKind = "hybrid"
    where: dict[str, Any] | None = Field(default=None, examples=[{"format": "markdown"}])


class SearchReply(Reply):
    """What a search found; no hits mean that nothing was found.

    Attributes:
        hits: Passages, best first.
        usage: What it used.
    """

    hits: tuple[Hit, ...]
    usage: Usage


class BudgetRequest(Request):
    """What an answer may use; what is absent is as the service was started with.

    Attributes:
        tokens: Input tokens over all calls.
        calls: Calls of the language model.
        seconds: Seconds.
        cost: Money, in the currency of the model's prices.
    """

    tokens: Whole | None = Field(default=None, ge=0, le=1 << 40)
    calls: Whole | None = Field(default=None, ge=0, le=1 << 40)
    seconds: Number | None = Field(default=None, ge=0, le=1e9)
    cost: Number | None = Field(default=None, ge=0, le=1e9)


class AnswerRequest(Request):
    """A question.

    Attributes:
        question: The question.
        collection: The collection to answer from; None for the web alone.
        web: Whether to search the web, too.
        pipeline: How to answer; None is as the service was started with.
        budget: What the answer may use.
        top_k: Passages to read, for pipelines that no plan decides on.
        retriever: By meaning ('dense'), by words ('lexical'), or by both.
        where: Only documents with this metadata.
        stream: Whether to tell what happens as it happens, as server-sent events.
    """

    question: Text = Field(examples=["What is the maximum size of a database file?"])
    collection: Name | None = Field(default=None, examples=["handbook"])
    web: StrictBool = False
    pipeline: Name | None = None
    budget: BudgetRequest = BudgetRequest()
    top_k: Whole | None = Field(default=None, ge=1, le=100)
    retriever: RetrieverKind = "hybrid"
    where: dict[str, Any] | None = None
    stream: StrictBool = False


class StageUsage(Reply):
    """What a stage of a pipeline used.

    Attributes:
        stage: Its name, such as 'search' or 'read'.
        usage: What it used.
    """

    stage: str
    usage: Usage


class StepReply(Reply):
    """A sub-question of an answer.

    Attributes:
        question: The sub-question.
        answer: Its own answer; '' where there is none.
        passages: The passages that were found for it, by id.
    """

    question: str
    answer: str
    passages: tuple[str, ...]


class AnswerReply(Reply):
    """An answer, what it rests on and what it used.

    Attributes:
        id: Names the answer, for feedback.
        text: The answer; [1], [2], … are the numbers of citations.
        supported: Whether stored text supports it.
        citations: The ranges of documents that support it.
        hits: The passages that were shown to the model, best first.
        steps: The sub-questions that led to it.
        notes: Whatever fell short on the way.
        pipeline: How it was answered.
        usage: What it used.
        stages: The same by stage.
        seconds: Time from the request to the answer.
        confidence: How likely the model found its own answer, 0 to 1; None where it does not say.
        sensitivity: The tags of all that was read; none is public.
    """

    id: str
    text: str
    supported: bool
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    steps: tuple[StepReply, ...]
    notes: tuple[str, ...]
    pipeline: str
    usage: Usage
    stages: tuple[StageUsage, ...]
    seconds: float
    confidence: float | None
    sensitivity: tuple[str, ...]


class StartEvent(Reply):
    """The question was taken on.

    Attributes:
        id: Names the answer, for feedback.
        pipeline: How it is answered.
    """

    id: str
    pipeline: str


class OperationEvent(Reply):
    """An operation of a pipeline began or ended.

    Attributes:
        operation: 'search', 'search_web', 'fetch', 'embed', 'generate', 'score' or 'next_token'.
        stage: The stage of the pipeline that it belongs to.
        state: 'started', 'finished' or 'failed'.
        detail: What was searched for or fetched; '' for other operations.
        found: Titles of what a search found, best first, five at most.
        usage: What it used, once it ended.
    """

    operation: str
    stage: str
    state: Literal["started", "finished", "failed"]
    detail: str = ""
    found: tuple[str, ...] = ()
    usage: Usage | None = None


class DeltaEvent(Reply):
    """The model wrote a piece of a reply.

    Attributes:
        stage: The stage that the reply belongs to.
        text: The piece. The answer that comes last may say less: what nothing supports is left out.
    """

    stage: str
    text: str


class PlanReply(Reply):
    """What a budget would be spent on.

    Attributes:
        pipeline: The pipeline that would answer.
        strategy: The strategy that is planned; None for pipelines that no plan decides on.
        documents: Passages that would be read.
        examples: Worked examples that would be shown.
        steps: Steps at most.
        tokens: Input tokens that are expected; None where that is not known.
        quality: The quality that is expected, 0 to 1, as it was measured; None where it was not.
        reason: Why, in a sentence.
    """

    pipeline: str
    strategy: str | None
    documents: int
    examples: int
    steps: int
    tokens: float | None
    quality: float | None
    reason: str


class PipelineReply(Reply):
    """A way to answer.

    Attributes:
        name: What requests call it.
        description: What it does, in a sentence.
        default: Whether it is taken where a request names none.
    """

    name: str
    description: str
    default: bool


class ServiceReply(Reply):
    """What the service offers to this caller.

    Attributes:
        version: Version of ragmeter.
        llm: The language model; None for none.
        pipelines: The ways to answer.
        web: Whether answers from the web are enabled.
        scopes: What the caller may do: 'read', 'write', 'admin'.
        planned: Whether budgets are planned with a fitted model.
        file_bytes: Largest file that can be uploaded.
        suffixes: Suffixes of files that can be uploaded.
    """

    version: str
    llm: str | None
    pipelines: tuple[PipelineReply, ...]
    web: bool
    scopes: tuple[str, ...]
    planned: bool
    file_bytes: int
    suffixes: tuple[str, ...]


class FeedbackRequest(Request):
    """What somebody thinks of an answer; a second one replaces the first.

    Attributes:
        answer_id: The answer's `id`.
        rating: 'up' or 'down'.
        comment: Why.
    """

    answer_id: str = Field(max_length=64, examples=["8Xk2mQfZr1wT"])
    rating: Literal["up", "down"] = Field(examples=["up"])
    comment: str = Field(default="", max_length=4000)


class FeedbackReply(FeedbackRequest):
    """Feedback that is kept.

    Attributes:
        created: When it was given, ISO 8601 in UTC.
        question: The question.
        answer: The answer's text.
        collection: The collection; None for the web alone.
        pipeline: How it was answered.
    """

    created: str
    question: str
    answer: str
    collection: str | None
    pipeline: str


class FeedbackPage(Reply):
    """Feedback, the latest first.

    Attributes:
        feedback: The entries.
    """

    feedback: tuple[FeedbackReply, ...]

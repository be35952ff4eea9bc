"""Requests and replies of the OpenAI-compatible API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from rag.core.answers import Citation
from rag.service.schemas import Reply, Whole


class Given(BaseModel):
    """A part of a request; unknown keys are passed over, since clients send many."""

    model_config = ConfigDict(frozen=True)


class ContentPart(Given):
    """A part of a message.

    Attributes:
        type: 'text'; other parts are refused.
        text: The text.
    """

    type: str
    text: str | None = None


class ChatMessage(Given):
    """A message of a conversation.

    Attributes:
        role: 'user' and 'assistant' are read; what others say is passed over.
        content: The text, whole or in parts.
    """

    role: Literal["user", "assistant", "system", "developer", "tool", "function"]
    content: str | tuple[ContentPart, ...] | None = None


class StreamOptions(Given):
    """How a reply is streamed.

    Attributes:
        include_usage: Whether a last chunk says what was used.
    """

    include_usage: StrictBool = False


class ChatRequest(Given):
    """A conversation whose last message is a question.

    Attributes:
        model: A collection, how to answer, and whether to search the web, as `/v1/models` lists
            them: 'handbook', 'handbook/extractive', 'handbook+web', 'web'.
        messages: The conversation, the latest message last.
        stream: Whether to send the answer in pieces, as server-sent events.
        stream_options: How.
        max_tokens: Tokens of a reply of the language model at most.
        max_completion_tokens: The same.
        n: Replies; there is one.
        tools: Tools; there can be none.
        functions: The same.
        response_format: The form of the reply; it is text.
    """

    model: str = Field(max_length=256, examples=["handbook"])
    messages: tuple[ChatMessage, ...] = Field(
        min_length=1, examples=[[{"role": "user", "content": "How do I enable WAL mode?"}]]
    )
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Whole | None = Field(default=None, ge=1)
    max_completion_tokens: Whole | None = Field(default=None, ge=1)
    n: Whole | None = Field(default=None, json_schema_extra={"maximum": 1})
    tools: tuple[Any, ...] | None = Field(default=None, json_schema_extra={"maxItems": 0})
    functions: tuple[Any, ...] | None = Field(default=None, json_schema_extra={"maxItems": 0})
    response_format: dict[str, Any] | None = Field(
        default=None, json_schema_extra={"properties": {"type": {"const": "text"}}}
    )


class PromptTokensDetails(Reply):
    """Where input tokens came from.

    Attributes:
        cached_tokens: Those that were not computed again.
    """

    cached_tokens: int


class ChatUsage(Reply):
    """What an answer used, over all calls of the language model.

    Attributes:
        prompt_tokens: Input tokens.
        completion_tokens: Tokens written.
        total_tokens: Both.
        prompt_tokens_details: Where input tokens came from.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ChatAnswer(Reply):
    """An answer.

    Attributes:
        role: 'assistant'.
        content: The text as Markdown; [1], [2], … refer to the sources at its end.
        citations: The ranges of documents that support it.
        supported: Whether stored text supports it.
        notes: Whatever fell short on the way.
        answer_id: Names the answer, for feedback.
    """

    role: Literal["assistant"] = "assistant"
    content: str
    citations: tuple[Citation, ...]
    supported: bool
    notes: tuple[str, ...]
    answer_id: str


class Choice(Reply):
    """The reply.

    Attributes:
        index: 0.
        message: The answer.
        finish_reason: 'stop'.
    """

    index: Literal[0] = 0
    message: ChatAnswer
    finish_reason: Literal["stop"] = "stop"


class ChatCompletion(Reply):
    """An answer as a chat completion.

    Attributes:
        id: Names the completion.
        object: 'chat.completion'.
        created: When, in seconds since 1970.
        model: The model that was asked for.
        choices: The answer.
        usage: What it used.
    """

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: ChatUsage


class ModelReply(Reply):
    """A model that can be asked: a collection, and how to answer from it.

    Attributes:
        id: What requests call it.
        object: 'model'.
        created: When the collection was first served, in seconds since 1970.
        owned_by: 'ragmeter'.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["ragmeter"] = "ragmeter"


class ModelPage(Reply):
    """The models that can be asked.

    Attributes:
        object: 'list'.
        data: The models.
    """

    object: Literal["list"] = "list"
    data: tuple[ModelReply, ...]

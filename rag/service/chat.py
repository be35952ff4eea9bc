"""Chats as questions, and answers as chats: what the OpenAI-compatible API says in other words."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from pydantic import ValidationError

from rag.core.answers import Citation
from rag.pipelines.conversation import Turn
from rag.service.access import Caller
from rag.service.answer_schemas import AnswerReply, AnswerRequest
from rag.service.chat_schemas import (
    ChatAnswer,
    ChatMessage,
    ChatRequest,
    ChatUsage,
    PromptTokensDetails,
)
from rag.service.errors import ApiError
from rag.service.service import Service

_SOURCES = "\n\nSources\n\n"
_MARKUP = re.compile(r"[\\`*_\[\]!|~#]")
_IMAGE = re.compile(r"!(?=\[)")
_TAG = re.compile(r"<(?=[a-zA-Z/!?])")
_WEB_ADDRESS = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class ChatModel:
    """What a client may choose as a model.

    Args:
        id: What it is called.
        collection: The collection that is asked; None for the web alone.
        web: Whether the web is searched.
        pipeline: How to answer; None is as the service was started with.
        created: When the collection was first served, in seconds since 1970.
    """

    id: str
    collection: str | None
    web: bool
    pipeline: str | None
    created: int


@dataclass(frozen=True, slots=True)
class Chat:
    """What a chat asks.

    Args:
        question: The question.
        turns: What was said before.
        notes: What of the chat was not read.
    """

    question: AnswerRequest
    turns: tuple[Turn, ...]
    notes: tuple[str, ...]


def chat_models(service: Service, caller: Caller) -> Iterator[ChatModel]:
    """Yield what a caller may choose: collections, and the web, with each way to answer.

    A collection is called by its name, with '+web' where the web is searched, too. A collection
    called 'web' comes before the web.
    """
    web = service.answering.web is not None
    sources: dict[str, tuple[str | None, bool, int]] = {}
    for shelf in service.library:
        if caller.sees(shelf.name):
            created = int(datetime.fromisoformat(shelf.created).timestamp())
            sources[shelf.name] = (shelf.name, False, created)
            if web:
                sources[f"{shelf.name}+web"] = (shelf.name, True, created)
    if web:
        sources.setdefault("web", (None, True, 0))
    for name, (collection, searches, created) in sources.items():
        yield ChatModel(name, collection, searches, None, created)
        for each in service.answering.pipelines:
            yield ChatModel(f"{name}/{each.name}", collection, searches, each.name, created)


def find_model(service: Service, caller: Caller, name: str) -> ChatModel:
    """Return the model of a name, whatever its case.

    Raises:
        ApiError: There is none that the caller may choose.
    """
    for model in chat_models(service, caller):
        if model.id.casefold() == name.casefold():
            return model
    message = "there is no such model; GET /v1/models lists those that there are"
    raise ApiError(404, "model_not_found", message, param="model")


def read_chat(request: ChatRequest, model: ChatModel) -> Chat:
    """Return what a chat asks: its last message, after those before it.

    Raises:
        ApiError: It asks for what there is not, or for nothing.
    """
    _refuse_unsupported(request)
    said = [
        (message.role, _text(message, f"messages.{number}.content"))
        for number, message in enumerate(request.messages)
        if message.role in ("user", "assistant")
    ]
    if not said or said[-1][0] != "user":
        raise ApiError(
            400, "invalid_request", "the last message is not the user's", param="messages"
        )
    try:
        question = AnswerRequest(
            question=said[-1][1],
            collection=model.collection,
            web=model.web,
            pipeline=model.pipeline,
        )
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        message = f"the last message cannot be asked: {reason}"
        raise ApiError(400, "invalid_request", message, param="messages") from error
    passed_over = len(request.messages) - len(said)
    note = f"passed over: {passed_over} messages that are neither the user's nor an answer"
    return Chat(question, tuple(_turns(said[:-1])), (note,) if passed_over else ())


def chat_answer(answer: AnswerReply, notes: Sequence[str]) -> ChatAnswer:
    """Return an answer as a message, its sources after it.

    Args:
        answer: The answer.
        notes: What of the chat was not read.
    """
    return ChatAnswer(
        content=_as_markdown(answer),
        citations=answer.citations,
        supported=answer.supported,
        notes=(*notes, *answer.notes),
        answer_id=answer.id,
    )


def chat_usage(answer: AnswerReply) -> ChatUsage:
    """Return what an answer used."""
    used = answer.usage
    return ChatUsage(
        prompt_tokens=used.input_tokens,
        completion_tokens=used.output_tokens,
        total_tokens=used.input_tokens + used.output_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=used.cached_tokens),
    )


def _refuse_unsupported(request: ChatRequest) -> None:
    form = (request.response_format or {}).get("type", "text")
    refused = {
        "n": (request.n or 1) != 1 and "there is one answer",
        "tools": request.tools and "answers call no tools",
        "functions": request.functions and "answers call no functions",
        "response_format": form != "text" and "answers are text",
    }
    for name, reason in refused.items():
        if reason:
            message = f"{name}: {reason}; leave it out"
            raise ApiError(400, "unsupported_parameter", message, param=name)


def _text(message: ChatMessage, where: str) -> str:
    """Return the text of a message.

    Raises:
        ApiError: It has a part that is no text.
    """
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.type != "text":
            reason = f"{where}: parts of the type {part.type[:40]!r} are not read; send text"
            raise ApiError(400, "unsupported_content", reason, param=where)
    return "\n".join(part.text or "" for part in message.content)


def _turns(said: Sequence[tuple[str, str]]) -> Iterator[Turn]:
    """Yield questions with what was answered, without the sources that `chat_answer` added."""
    question = ""
    for role, text in said:
        if role == "user":
            if question:
                yield Turn(question)
            question = text
        else:
            yield Turn(question, text.rpartition(_SOURCES)[0] or text)
            question = ""
    if question:
        yield Turn(question)


def _as_markdown(answer: AnswerReply) -> str:
    """Return an answer and its sources as Markdown that loads nothing and holds no HTML.

    Front ends render what they get. Documents may hold an image's address, and have any name.
    """
    text = _TAG.sub("&lt;", _IMAGE.sub(r"!\\", answer.text))
    if not answer.citations:
        return text
    return text + _SOURCES + "\n".join(map(_source, answer.citations))


def _source(citation: Citation) -> str:
    title, uri = citation.title or citation.document_id, citation.uri
    # In addresses, signs that mean something in Markdown are encoded, so that they can be followed.
    encoded = (
        quote(uri, safe="%:/?=&;,+@$#", errors="replace").replace("_", "%5F").replace("~", "%7E")
    )
    place = encoded if _WEB_ADDRESS.fullmatch(uri) else _escaped(uri)
    return f"- [{citation.number}] {_escaped(title)}" + (f", {place}" if uri else "")


def _escaped(text: str) -> str:
    """Return text on one line that means nothing in Markdown and HTML."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return html.escape(_MARKUP.sub(r"\\\g<0>", line), quote=False)

"""`/v1/chat/completions` and `/v1/models`: answers for whatever speaks OpenAI's API."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rag.core.events import Event, Outcome
from rag.service.access import Caller
from rag.service.answer_schemas import AnswerReply
from rag.service.chat import Chat, chat_answer, chat_models, chat_usage, find_model, read_chat
from rag.service.chat_schemas import ChatCompletion, ChatRequest, Choice, ModelPage, ModelReply
from rag.service.dependencies import Admitted, Reader, ServiceDep
from rag.service.errors import ErrorReply
from rag.service.event_stream import EventStream
from rag.service.leaving import unless_left
from rag.service.service import Service

router = APIRouter(prefix="/v1", tags=["openai"])

_WORD = re.compile(r"\S+\s*|\s+")
_NO_MODEL = {"model": ErrorReply, "description": "There is no such model."}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream`, in pieces, `data: [DONE]` after the last.",
        "content": {
            "text/event-stream": {
                "example": 'data: {"object": "chat.completion.chunk"}\n\ndata: [DONE]\n\n',
            }
        },
    },
    400: {"model": ErrorReply, "description": "A parameter or a message asks for what is not."},
    404: _NO_MODEL,
    502: {"model": ErrorReply, "description": "A model or a search engine failed."},
    504: {"model": ErrorReply, "description": "It took longer than it may."},
}


@router.post("/chat/completions", response_model=ChatCompletion, responses=_RESPONSES)
async def complete_chat(
    service: ServiceDep, caller: Reader, request: Request, asked: ChatRequest, _: Admitted
) -> ChatCompletion | Response:
    """Answer the last message of a chat, with its sources at the end of the text.

    Follow-up questions are understood; the notes say what was asked. A stream has no text that
    the checked answer has not: pieces are sent once the answer is there.
    """
    model = find_model(service, caller, asked.model)
    completion = _Completion(service, caller, asked, read_chat(asked, model))
    if not asked.stream:
        return await unless_left(request, completion.whole())
    events = completion.events()
    # Whatever is refused is refused before this, with a status of its own.
    first = await unless_left(request, anext(events))
    return EventStream(completion.pieces(first, events))


@router.get("/models")
def list_models(service: ServiceDep, caller: Reader) -> ModelPage:
    """List what can be chosen as a model: collections, and the web, with each way to answer."""
    models = chat_models(service, caller)
    return ModelPage(data=tuple(ModelReply(id=each.id, created=each.created) for each in models))


@router.get("/models/{model:path}", responses={404: _NO_MODEL})
def get_model(service: ServiceDep, caller: Reader, model: str) -> ModelReply:
    """Show a model."""
    found = find_model(service, caller, model)
    return ModelReply(id=found.id, created=found.created)


@dataclass(frozen=True, slots=True)
class _Completion:
    """An answer on its way to a client."""

    service: Service
    caller: Caller
    asked: ChatRequest
    chat: Chat
    answer_id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    created: int = field(default_factory=lambda: int(time.time()))
    began: float = field(default_factory=time.perf_counter)

    @property
    def id(self) -> str:
        """What clients call it."""
        return f"chatcmpl-{self.answer_id}"

    def events(self) -> AsyncGenerator[Event, None]:
        """Return what happens while the question is answered.

        No deltas: a model may write what the answer, once it is checked, does not say.
        """
        limits = (self.asked.max_tokens, self.asked.max_completion_tokens)
        return self.service.answering.events(
            self.chat.question,
            self.caller,
            turns=self.chat.turns,
            max_tokens=min((each for each in limits if each is not None), default=None),
            deltas=False,
        )

    async def whole(self) -> ChatCompletion:
        """Return the answer as one reply."""
        events = self.events()
        answer = await self._answer(await anext(events), events)
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.asked.model,
            choices=(Choice(message=chat_answer(answer, self.chat.notes)),),
            usage=chat_usage(answer),
        )

    async def pieces(
        self, first: Event, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the answer in pieces; until it is there, only a first one without text."""
        async with aclosing(events):
            yield self._piece({"role": "assistant", "content": ""})
            answer = await self._answer(first, events)
        message = chat_answer(answer, self.chat.notes).model_dump(mode="json", exclude={"role"})
        for word in _WORD.findall(message.pop("content")):
            yield self._piece({"content": word})
        yield self._piece(message, finish_reason="stop")
        options = self.asked.stream_options
        if options is not None and options.include_usage:
            yield self._chunk([], usage=chat_usage(answer).model_dump())
        yield b"data: [DONE]\n\n"

    async def _answer(self, event: Event, events: AsyncGenerator[Event, None]) -> AnswerReply:
        """Return the answer that events end with, and keep it for feedback."""
        async with aclosing(events):
            while not isinstance(event, Outcome):
                event = await anext(events)
        question, seconds = self.chat.question, time.perf_counter() - self.began
        reply = self.service.answering.reply(question, event, seconds, self.answer_id)
        await run_in_threadpool(self.service.answer_log.add, question, reply, self.caller)
        return reply

    def _piece(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self._chunk([{"index": 0, "delta": delta, "finish_reason": finish_reason}])

    def _chunk(self, choices: list[Any], usage: dict[str, Any] | None = None) -> bytes:
        chunk = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.asked.model,
            "choices": choices,
            "usage": usage,
        }
        return f"data: {json.dumps(chunk)}\n\n".encode("ascii")

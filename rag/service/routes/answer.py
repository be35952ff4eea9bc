"""`/v1/answer`: answer a question, as JSON or as server-sent events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rag.core.answers import Answer, Citation
from rag.core.errors import Cancelled
from rag.core.events import Event, Outcome, Started, TextDelta
from rag.core.generation import Prompt
from rag.core.operations import Generate
from rag.core.search_operations import Search
from rag.core.usage import Usage
from rag.service.access import Caller
from rag.service.answer_schemas import AnswerReply, AnswerRequest, StartEvent
from rag.service.dependencies import Admitted, Reader, ServiceDep
from rag.service.errors import ErrorReply
from rag.service.event_stream import EventStream, format_event, format_progress
from rag.service.leaving import unless_left
from rag.service.service import Service

router = APIRouter(prefix="/v1", tags=["answers"])

_QUOTE = Citation(1, "limits.md#0-58", "limits.md", 0, 25, "A file has 281 terabytes.", "Limits")
_ANSWER = AnswerReply(
    id="8Xk2mQfZr1wT",
    text="A file has 281 terabytes. [1]",
    supported=True,
    citations=(_QUOTE,),
    hits=(),
    steps=(),
    notes=(),
    pipeline="read",
    usage=Usage(input_tokens=412, output_tokens=9, calls=1, searches=1, seconds=0.8),
    stages=(),
    seconds=0.9,
    confidence=None,
    sensitivity=("internal",),
)
_READ = Generate(Prompt(""), stage="read")
_EVENTS = (
    format_event("start", StartEvent(id=_ANSWER.id, pipeline=_ANSWER.pipeline)),
    format_progress(Started(Search("How large can a file be?"))) or b"",
    format_progress(TextDelta(_READ, "A file ")) or b"",
    format_event("answer", _ANSWER),
)

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer. With `stream: true`, what happens as it happens: events "
        "`start` (StartEvent), `operation` (OperationEvent), `delta` (DeltaEvent), and last "
        "`answer` (AnswerReply) or `error` (ErrorReply).",
        "content": {
            "application/json": {"example": _ANSWER.model_dump(mode="json")},
            "text/event-stream": {
                "example": b"".join(_EVENTS).decode(),
            },
        },
    },
    404: {"model": ErrorReply, "description": "There is no such collection."},
    422: {"model": ErrorReply, "description": "The question cannot be answered as it is asked."},
    502: {"model": ErrorReply, "description": "A model or a search engine failed."},
    504: {"model": ErrorReply, "description": "It took longer than it may."},
}


@router.post("/answer", response_model=AnswerReply, responses=_RESPONSES)
async def answer(
    service: ServiceDep, caller: Reader, _: Admitted, http: Request, request: AnswerRequest
) -> AnswerReply | Response:
    """Answer a question with citations, from a collection, the web, or both.

    An answer that no stored text supports says so in `supported`. What fell short, such as
    passages that did not fit a budget, is in `notes`.
    """
    asked = _Asked(service, caller, request)
    events = service.answering.events(request, caller, deltas=request.stream)
    if not request.stream:
        return await unless_left(http, asked.answer(events))
    # Whatever is refused is refused before this, with a status of its own.
    first = await unless_left(http, anext(events))
    return EventStream(asked.stream(first, events))


class _Asked:
    """A question, and when it was asked."""

    def __init__(self, service: Service, caller: Caller, request: AnswerRequest) -> None:
        self._service = service
        self._caller = caller
        self._request = request
        self._began = time.perf_counter()
        self._id = secrets.token_urlsafe(12)

    async def answer(self, events: AsyncGenerator[Event, None]) -> AnswerReply:
        """Wait for the answer."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Outcome):
                    return await self._reply(event)
        raise Cancelled("the run was interrupted")

    async def stream(
        self, first: Event, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield what happens, from the first event on, and the answer last."""
        pipeline = self._service.answering.offered.named(self._request.pipeline)
        async with aclosing(events):
            yield format_event("start", StartEvent(id=self._id, pipeline=pipeline))
            event = first
            while not isinstance(event, Outcome):
                if progress := format_progress(event):
                    yield progress
                event = await anext(events)
            yield format_event("answer", await self._reply(event))

    async def _reply(self, outcome: Outcome[Answer]) -> AnswerReply:
        """Return the answer, and keep it for feedback."""
        seconds = time.perf_counter() - self._began
        reply = self._service.answering.reply(self._request, outcome, seconds, self._id)
        await run_in_threadpool(self._service.answer_log.add, self._request, reply, self._caller)
        return reply

"""What happens during an answer, as server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Send

from rag.core.events import Event, Finished, Started, TextDelta
from rag.core.operations import CountTokens
from rag.core.search_operations import Fetch, Search, SearchWeb
from rag.core.web import WebResults
from rag.service.answer_schemas import DeltaEvent, OperationEvent
from rag.service.errors import api_error
from rag.service.logs import log
from rag.service.request_ids import request_id

KEEP_ALIVE = b": still here\n\n"
"""A comment, which clients pass over; proxies close connections on which nothing is sent."""

_KEEP_ALIVE_SECONDS = 15.0
_FOUND = 5


class EventStream(StreamingResponse):
    """A reply of server-sent events.

    Nothing arrives for a while: a comment is sent. Making events fails: an event `error` is the
    last. The client leaves: the events are closed before the request ends.

    Args:
        events: The events, as `format_event` makes them.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self._chunks = kept_alive(_told(events))
        # Nginx collects a reply before it passes it on, unless it is told not to.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(self._chunks, headers=headers)

    async def stream_response(self, send: Send) -> None:
        """Send the events."""
        async with aclosing(self._chunks):
            await super().stream_response(send)


def format_event(name: str, model: BaseModel) -> bytes:
    """Return an event: its name, and a model as JSON.

    All but ASCII is escaped: some clients take U+2028 and its like for the end of a line.
    """
    return f"event: {name}\ndata: {model.model_dump_json(ensure_ascii=True)}\n\n".encode("ascii")


def format_progress(event: Event) -> bytes | None:
    """Return an event of the engine for a client; None for those that say nothing by themselves.

    Questions, queries and titles are told, but no texts of passages: those come with the answer,
    which says what they support.
    """
    match event:
        case Started(CountTokens()) | Finished(CountTokens()):
            return None  # one of many, and done in no time
        case Started(op):
            return _operation(op, state="started")
        case TextDelta(op, text):
            return format_event("delta", DeltaEvent(stage=op.stage, text=text))
        case Finished(op, result, usage):
            state = "failed" if isinstance(result, Exception) else "finished"
            return _operation(op, state=state, found=_titles(result), usage=usage)
        case _:
            return None


def operation_name(op: Any) -> str:
    """Return what the API calls an operation: 'search_web' for a `SearchWeb`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(op).__name__).lower()


async def kept_alive(
    chunks: AsyncGenerator[bytes, None], seconds: float = _KEEP_ALIVE_SECONDS
) -> AsyncGenerator[bytes, None]:
    """Yield chunks as they come, and a comment whenever none came for some seconds."""
    upcoming: asyncio.Future[bytes] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(chunks))
            await asyncio.wait({upcoming}, timeout=seconds)
            if not upcoming.done():
                yield KEEP_ALIVE
                continue
            try:
                chunk = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield chunk
    finally:
        if upcoming is not None:
            upcoming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await upcoming
        await chunks.aclose()


async def _told(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield events; where making them fails, an error is the last."""
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except Exception as error:  # noqa: BLE001 # the status is sent; the stream has to tell
            told = api_error(error)
            if told.status >= 500:
                # What callers are told says it all, but for what nobody foresaw.
                unforeseen = error if told.status == 500 else None
                log.error("a stream failed", code=told.code, exc_info=unforeseen)
            yield format_event("error", told.reply(request_id.get()))


def _operation(op: Any, **values: Any) -> bytes:
    event = OperationEvent(
        operation=operation_name(op), stage=op.stage, detail=_detail(op), **values
    )
    return format_event("operation", event)


def _detail(op: Any) -> str:
    match op:
        case Search():
            return op.query
        case SearchWeb():
            return op.query.text
        case Fetch():
            return op.url
        case _:
            return ""


def _titles(result: Any) -> tuple[str, ...]:
    """Return the titles of what a search found, each once."""
    titles: Sequence[str] = ()
    if isinstance(result, WebResults):
        titles = [each.title or each.url for each in result.results]
    elif isinstance(result, list):  # hits; no other operation returns a list
        titles = [each.passage.title or each.passage.document_id for each in result]
    return tuple(dict.fromkeys(titles))[:_FOUND]

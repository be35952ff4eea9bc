"""The application: the parts of the service behind an HTTP API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

import rag
from rag.core.errors import RagError
from rag.service.errors import ApiError, ErrorReply, api_error
from rag.service.request_ids import request_id
from rag.service.routes import collections
from rag.service.service import opened
from rag.service.settings import Settings

if TYPE_CHECKING:
    from rag.core.protocols import LLM, Embedder

_ROUTERS = (collections.router,)

_DESCRIPTION = "Cited, metered answers over your own documents and the web."


def create_app(
    settings: Settings,
    embedder: Embedder,
    llm: LLM | None = None,
    *,
    sources: Sequence[Path] = (),
) -> FastAPI:
    """Return the service as an ASGI application.

    Args:
        settings: How it is run.
        embedder: Embeds new collections, and queries.
        llm: The language model; None for none.
        sources: Collections to serve, and folders of documents to follow.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opened(settings, sources, embedder, llm) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="ragmeter",
        description=_DESCRIPTION,
        version=rag.__version__,
        lifespan=lifespan,
        max_body_size=settings.limits.body_bytes,
        responses={"default": {"model": ErrorReply, "description": "An error."}},
    )
    for router in _ROUTERS:
        app.include_router(router)
    for kind in (RequestValidationError, HTTPException, ApiError, RagError, Exception):
        app.add_exception_handler(kind, _tell)
    return app


async def _tell(_: Request, error: Exception) -> JSONResponse:
    """Answer with an error."""
    match error:
        case RequestValidationError():
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            told = ApiError(422, "invalid_request", f"{where}: {first['msg']}", param=where)
        case HTTPException():
            code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
            status = error.status_code
            message, headers = str(error.detail), error.headers
            told = ApiError(status, code.get(status, "refused"), message, headers=headers)
        case _:
            told = api_error(error)
    body = told.reply(request_id.get()).model_dump(mode="json")
    return JSONResponse(body, told.status, told.headers)

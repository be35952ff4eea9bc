"""The application: the parts of the service behind an HTTP API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

import rag
from rag.core.errors import RagError
from rag.service.errors import ApiError, ErrorReply, api_error, error_response
from rag.service.logs import log
from rag.service.middleware import around
from rag.service.routes import (
    answer,
    collections,
    documents,
    feedback,
    jobs,
    openai,
    operations,
    page,
    plan,
    search,
)
from rag.service.service import opened
from rag.service.settings import Server, Settings

if TYPE_CHECKING:
    from rag.core.protocols import LLM, Embedder

_ROUTERS = (
    collections.router,
    documents.router,
    jobs.router,
    search.router,
    answer.router,
    plan.router,
    feedback.router,
    operations.router,
    openai.router,
    page.router,
)

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

    app = _App(
        settings.server,
        title="ragmeter",
        description=_DESCRIPTION,
        version=rag.__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the service's tell less
        max_body_size=settings.limits.body_bytes,
        responses={"default": {"model": ErrorReply, "description": "An error."}},
    )
    app.state.stopping = False
    for router in _ROUTERS:
        app.include_router(router)
    for kind in (RequestValidationError, HTTPException, ApiError, RagError, Exception):
        app.add_exception_handler(kind, _tell)
    return app


class _App(FastAPI):
    """FastAPI within the middleware that must see every reply, those of its errors included."""

    def __init__(self, server: Server, **options: Any) -> None:
        self._server = server
        super().__init__(**options)

    def build_middleware_stack(self) -> ASGIApp:
        return around(super().build_middleware_stack(), self._server)


async def _tell(request: Request, error: Exception) -> Response:
    """Answer with an error."""
    match error:
        case RequestValidationError():
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            told = ApiError(422, "invalid_request", f"{where}: {first['msg']}", param=where)
        case HTTPException():
            code = {404: "not_found", 405: "method_not_allowed", 408: "timeout", 413: "too_large"}
            status = error.status_code
            message, headers = str(error.detail), error.headers
            told = ApiError(status, code.get(status, "refused"), message, headers=headers)
            if status == 405:
                told.headers["Allow"] = _allowed(request)
        case _:
            told = api_error(error)
    if told.status >= 500:
        log.error("a request failed", code=told.code, exc_info=error)
    return error_response(told)


def _allowed(request: Request) -> str:
    """Return the methods of a path; each is a route of its own, which knows of no other."""
    routes = (route for router in _ROUTERS for route in router.routes if isinstance(route, Route))
    matching = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in matching for method in route.methods or ()}))

"""`/v1/collections/{collection}/search`: find passages."""

from __future__ import annotations

from contextlib import aclosing

from fastapi import APIRouter
from starlette.requests import Request

from rag.core.backends import Backends
from rag.core.budgets import Budget
from rag.core.errors import SearchFailed
from rag.core.events import Outcome
from rag.core.filters import parse_where
from rag.core.search_operations import Search
from rag.service.answer_schemas import SearchReply, SearchRequest
from rag.service.dependencies import Admitted, Reader, ServiceDep
from rag.service.errors import ErrorReply
from rag.service.leaving import unless_left
from rag.service.library import Shelf
from rag.service.observing import observed
from rag.service.places import shown_hits
from rag.service.service import Service
from rag.service.settings import Name

router = APIRouter(prefix="/v1/collections/{collection}", tags=["answers"])


@router.post(
    "/search",
    responses={
        404: {"model": ErrorReply, "description": "There is no such collection."},
        422: {"model": ErrorReply, "description": "The query or the filter cannot be used."},
        504: {"model": ErrorReply, "description": "It took too long."},
    },
)
async def search(
    service: ServiceDep,
    caller: Reader,
    _: Admitted,
    http: Request,
    collection: Name,
    request: SearchRequest,
) -> SearchReply:
    """Find the passages of a collection that speak of something, best first."""
    caller.check(collection)
    parse_where(request.where or {})
    work = _searched(service, service.library[collection], request)
    return await unless_left(http, work, service.settings.limits.search_seconds)


async def _searched(service: Service, shelf: Shelf, request: SearchRequest) -> SearchReply:
    running = service.engine.stream(
        Search(request.query, request.top_k, request.where),
        budget=Budget(seconds=service.settings.limits.search_seconds),
        backends=Backends(retriever=shelf.retrievers[request.retriever]),
        deltas=False,
    )
    async with aclosing(observed(running, service.metrics, name="search")) as events:
        async for event in events:
            if isinstance(event, Outcome):
                service.library.explain(event.error, shelf.name)
                return SearchReply(hits=shown_hits(event.unwrap()), usage=event.usage)
    raise SearchFailed(request.retriever, "it was interrupted")

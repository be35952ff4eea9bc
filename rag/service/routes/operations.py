"""`/health`, `/ready` and `/metrics`: for supervisors, load balancers and Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rag.core.errors import StorageError
from rag.service.dependencies import Admin, ServiceDep
from rag.service.schemas import HealthReply, ReadyReply
from rag.service.service import Service

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health() -> HealthReply:
    """Say that the process lives; if it does not, restart it."""
    return HealthReply()


@router.get("/ready", responses={503: {"model": ReadyReply, "description": "Not ready."}})
def ready(service: ServiceDep, request: Request) -> JSONResponse:
    """Say whether the service can do its work just now; if it cannot, send requests elsewhere."""
    reply = ReadyReply(reasons=tuple(_shortfalls(service, request.app.state.stopping)))
    return JSONResponse(reply.model_dump(), 503 if reply.reasons else 200)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "In Prometheus's format."}},
)
def metrics(service: ServiceDep, _: Admin) -> Response:
    """Return what the service has counted; needs the scope `admin` where there are keys."""
    return Response(service.metrics.text(service), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _shortfalls(service: Service, stopping: bool) -> list[str]:
    """Return what keeps the service from its work; callers learn no more than they need."""
    shortfalls = []
    if stopping:
        shortfalls.append("the service is stopping")
    try:
        with service.database.write():
            pass
    except StorageError:
        shortfalls.append("the database cannot be written")
    if not service.settings.read_only and not service.jobs.alive:
        shortfalls.append("jobs are not worked on")
    return shortfalls

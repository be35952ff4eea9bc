"""`/v1/plan` and `/v1/service`: what the service offers, and what a budget would buy."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

import rag
from rag.service.answer_schemas import PlanReply, ServiceReply
from rag.service.dependencies import Reader, ServiceDep
from rag.service.errors import ErrorReply
from rag.service.settings import Name
from rag.text.loading import FORMATS

router = APIRouter(prefix="/v1", tags=["answers"])


@router.get(
    "/plan",
    responses={
        404: {"model": ErrorReply, "description": "There is no such collection."},
        422: {"model": ErrorReply, "description": "Nothing fits the budget."},
    },
)
def plan(
    service: ServiceDep,
    caller: Reader,
    tokens: Annotated[
        int | None, Query(ge=0, le=1 << 40, description="Input tokens at most.", examples=[4000])
    ] = None,
    collection: Annotated[
        Name | None, Query(description="What is asked; absent for the web.", examples=["handbook"])
    ] = None,
    pipeline: Annotated[
        Name | None, Query(description="How to answer; absent for the default.", examples=["read"])
    ] = None,
    top_k: Annotated[int | None, Query(ge=1, le=100, description="Passages to read.")] = None,
) -> PlanReply:
    """Say what a budget would be spent on. No model is asked."""
    asked = None
    if collection is not None:
        caller.check(collection)
        asked = service.library[collection].collection
    return service.planner.plan(pipeline, asked, tokens, top_k)


@router.get("/service")
def describe_service(service: ServiceDep, caller: Reader) -> ServiceReply:
    """Say what the service offers, and what you may do."""
    answering = service.answering
    return ServiceReply(
        version=rag.__version__,
        llm=service.llm.name if service.llm else None,
        pipelines=answering.pipelines,
        web=answering.web is not None,
        scopes=tuple(sorted(caller.scopes)),
        planned=answering.offered.fitted is not None,
        file_bytes=service.settings.limits.file_bytes,
        suffixes=tuple(sorted(filter(None, FORMATS))),
    )

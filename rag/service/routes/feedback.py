"""`/v1/feedback`: what people think of answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from rag.service.answer_schemas import FeedbackPage, FeedbackRequest
from rag.service.dependencies import Admin, Reader, ServiceDep
from rag.service.errors import ErrorReply

router = APIRouter(prefix="/v1/feedback", tags=["feedback"])


@router.post(
    "",
    status_code=204,
    responses={404: {"model": ErrorReply, "description": "You got no such answer."}},
)
def rate_answer(service: ServiceDep, caller: Reader, feedback: FeedbackRequest) -> None:
    """Say what you think of an answer that you got; a second time replaces the first."""
    service.answer_log.rate(feedback, caller)


@router.get("")
def list_feedback(
    service: ServiceDep,
    caller: Admin,
    limit: Annotated[int, Query(ge=1, le=1000, description="Entries at most.")] = 100,
) -> FeedbackPage:
    """List what was said of answers, the latest first, of collections that you may use."""
    return FeedbackPage(feedback=service.answer_log.feedback(caller, limit))

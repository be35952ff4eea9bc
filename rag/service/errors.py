"""Errors as the API tells them: a status, a code for programs, a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import JSONResponse

from rag.core.errors import (
    BatchError,
    BudgetExhausted,
    BudgetTooSmall,
    CollectionError,
    CollectionExists,
    CollectionLocked,
    CollectionNotFound,
    FlowRefused,
    InputError,
    LoadError,
    MissingExtra,
    ModelError,
    RagError,
    ReadOnly,
    SearchFailed,
    Unsupported,
)
from rag.service.request_ids import request_id


class ErrorDetail(BaseModel):
    """What went wrong.

    Attributes:
        message: A sentence for people, with the next step where there is one.
        type: 'invalid_request_error', 'authentication_error', 'permission_error',
            'rate_limit_error' or 'api_error', as OpenAI's API names them.
        code: What happened, for programs: 'collection_not_found', 'overloaded', …
        param: The part of the request that is wrong, if one is.
        request_id: Names the request in the service's logs.
    """

    message: str
    type: str
    code: str
    param: str | None = None
    request_id: str = ""


class ErrorReply(BaseModel):
    """The body of every reply that is an error; the shape is that of OpenAI's API."""

    error: ErrorDetail


class ApiError(Exception):
    """A request that cannot be carried out.

    Args:
        status: The HTTP status.
        code: What happened, for programs.
        message: A sentence for people.
        param: The part of the request that is wrong, if one is.
        headers: Headers of the reply, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """The kind of error, as OpenAI's API names it."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        default = "invalid_request_error" if self.status < 500 else "api_error"
        return kinds.get(self.status, default)

    def reply(self, request_id: str) -> ErrorReply:
        """Return the body of the reply."""
        return ErrorReply(
            error=ErrorDetail(
                message=self.message,
                type=self.type,
                code=self.code,
                param=self.param,
                request_id=request_id,
            )
        )


_BY_ERROR: tuple[tuple[type[RagError], int, str], ...] = (
    (CollectionNotFound, 404, "collection_not_found"),
    (CollectionExists, 409, "collection_exists"),
    (CollectionLocked, 409, "collection_locked"),
    (ReadOnly, 409, "read_only"),
    (BudgetTooSmall, 422, "budget_too_small"),
    (InputError, 422, "invalid_value"),
    (LoadError, 422, "unreadable_document"),
    (Unsupported, 422, "unsupported"),
    (BudgetExhausted, 422, "budget_exhausted"),
    (FlowRefused, 422, "flow_refused"),
    (SearchFailed, 502, "search_failed"),
    (MissingExtra, 501, "not_installed"),
    (ModelError, 502, "model_failed"),
)
"""What callers may learn of the toolkit's errors; of all others they learn nothing."""

_SAYS_PATHS = (CollectionNotFound, CollectionExists, CollectionLocked, ReadOnly, MissingExtra)


def api_error(error: Exception) -> ApiError:
    """Return how the API tells an error; what it does not know, it keeps to itself."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, BatchError):
        error = next(each for each in error.results if isinstance(each, Exception))
    for kind, status, code in _BY_ERROR:
        if isinstance(error, kind):
            message = code.replace("_", " ") if _says_paths(error) else str(error)
            return ApiError(status, code, message)
    return ApiError(500, "internal", "something unexpected happened; the service's log says what")


def _says_paths(error: RagError) -> bool:
    # A search of a collection fails for what its files did; one of the web does not.
    of_files = isinstance(error.__cause__, (CollectionError, OSError))
    return isinstance(error, _SAYS_PATHS) or (type(error) is SearchFailed and of_files)


def error_response(error: ApiError) -> JSONResponse:
    """Return the reply that tells an error."""
    body = error.reply(request_id.get()).model_dump(mode="json")
    return JSONResponse(body, error.status, error.headers)

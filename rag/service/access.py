"""Who calls, and what they may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from rag.core.errors import CollectionNotFound
from rag.service.errors import ApiError
from rag.service.keys import SCOPES, Key, Scope
from rag.service.rates import address

if TYPE_CHECKING:
    from rag.service.service import Service

_BEARER = HTTPBearer(
    scheme_name="key",
    description="A key of `rag keys create`, with the scope that is named. A service that never "
    "had a key needs none.",
    auto_error=False,
)
_FAILURES_PER_MINUTE = 60
"""Wrong keys that are taken from one address; right ones are let in all the same."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    Args:
        key_id: The key that it came with; None where the service has no keys.
        scopes: What it may do, with all that this implies.
        collections: The collections that it may use, by name in lower case; None for all.
        tokens_per_day: Tokens that it may use in a day; None for no limit.
    """

    key_id: str | None = None
    scopes: frozenset[Scope] = frozenset(SCOPES)
    collections: frozenset[str] | None = None
    tokens_per_day: int | None = None

    def sees(self, collection: str) -> bool:
        """Return whether it may use a collection."""
        return self.collections is None or collection.casefold() in self.collections

    def check(self, collection: str) -> None:
        """Refuse a collection that it may not use, as if there were none.

        Raises:
            CollectionNotFound: It may not.
        """
        if not self.sees(collection):
            raise CollectionNotFound(collection, "no collection of that name is served")


def access(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return what a route depends on to let in only callers with a scope.

    It raises `ApiError`: 401 without a key that is good, 403 for a key without the scope, 429 for
    too many requests.
    """

    async def caller(
        request: Request,
        credentials: HTTPAuthorizationCredentials | None = Security(_BEARER, scopes=[scope]),  # noqa: B008 # how FastAPI is told
    ) -> Caller:
        service: Service = request.app.state.service
        if not service.keys.fresh:
            await run_in_threadpool(service.keys.refresh)
        found, per_minute = _identified(service, request, credentials)
        request.state.caller = found  # the log names its key
        if per_minute is not None:
            service.rates.count("requests", found.key_id or address(request), per_minute)
        if scope not in found.scopes:
            raise ApiError(403, "missing_scope", f"the key lacks the scope '{scope}'")
        return found

    return caller


def _identified(
    service: Service, request: Request, credentials: HTTPAuthorizationCredentials | None
) -> tuple[Caller, int | None]:
    """Return who calls, and how many requests a minute they may send."""
    default = service.settings.limits.requests_per_minute
    # Where others reach it, losing the last key does not open the service to them.
    if not service.keys.exist() and service.settings.server.local:
        return Caller(), default
    if credentials is None:
        raise _unauthorized("send an API key: Authorization: Bearer rag_…")
    key = service.keys.authenticate(credentials.credentials)
    if key is None:
        service.rates.count("wrong keys", address(request), _FAILURES_PER_MINUTE)
        raise _unauthorized("the API key is unknown, or was revoked")
    return _caller(key), key.requests_per_minute or default


def _caller(key: Key) -> Caller:
    return Caller(
        key_id=key.id,
        scopes=frozenset(SCOPES if "admin" in key.scopes else key.scopes),
        collections=None if key.collections is None else frozenset(key.collections),
        tokens_per_day=key.tokens_per_day,
    )


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})

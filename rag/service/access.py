"""Who calls, and what they may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from rag.core.errors import CollectionNotFound

Scope = Literal["read", "write", "admin"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    Args:
        key_id: The key that it came with; None where the service has no keys.
        scopes: What it may do.
        collections: The collections that it may use, by name in lower case; None for all.
    """

    key_id: str | None = None
    scopes: frozenset[Scope] = frozenset({"read", "write", "admin"})
    collections: frozenset[str] | None = None

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


def access(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return what a route depends on to let in only callers with a scope."""

    async def caller(request: Request) -> Caller:  # noqa: ARG001
        return Caller(scopes=frozenset({scope}))

    return caller

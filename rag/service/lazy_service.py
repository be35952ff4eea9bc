"""A service that is opened when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from rag.service.service import Service

OpenService = Callable[[], AbstractAsyncContextManager[Service]]
"""Opens a service, and closes it when the context is left."""


class LazyService:
    """Opens a service once; an opening that fails is tried again when it is next needed.

    Args:
        open_service: Opens it.
    """

    def __init__(self, open_service: OpenService) -> None:
        self._open = open_service
        self._stack = AsyncExitStack()
        self._opening: asyncio.Task[Service] | None = None

    async def get(self) -> Service:
        """Return the service; whoever is cancelled meanwhile does not end its opening."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            entering = self._stack.enter_async_context(self._open())
            self._opening = asyncio.create_task(entering)
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Close the service, if it was opened."""
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._stack.aclose()

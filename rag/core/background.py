"""An event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for other threads until it is closed or forgotten.

    Args:
        resource: What the coroutines work with; it is entered and left on the loop.
    """

    def __init__(self, resource: AbstractAsyncContextManager[Any]) -> None:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # The thread must not refer to this object, or nobody could forget it.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(_serve(resource, ready)), name="rag-background", daemon=True
        )
        self._thread.start()
        self._loop, stop = ready.result()
        self._stop = weakref.finalize(self, self._loop.call_soon_threadsafe, stop.set)

    @property
    def closed(self) -> bool:
        """Whether nothing can be run any more."""
        return not self._stop.alive

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Cancel what is running and end the thread."""
        self._stop()
        self._thread.join()


async def _serve(
    resource: AbstractAsyncContextManager[Any],
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    async with resource:
        stop = asyncio.Event()
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

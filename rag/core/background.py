"""An event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager
from queue import SimpleQueue
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

    def run(self, coroutine: Coroutine[Any, Any, T], closed: Exception) -> T:
        """Run a coroutine and return its result; a wait that is interrupted cancels it.

        Args:
            coroutine: The coroutine.
            closed: What is raised where the loop is closed, or closed before the coroutine ended.
        """
        future = self._begin(coroutine, closed)
        try:
            return future.result()
        except CancelledError as error:
            raise closed from error
        finally:
            future.cancel()

    def stream(
        self, coroutine: Coroutine[Any, Any, None], items: SimpleQueue[T | None], closed: Exception
    ) -> Iterator[T]:
        """Yield what a coroutine puts into a queue, until it ends; closing the iterator ends it.

        Args:
            coroutine: The coroutine.
            items: The queue.
            closed: As for `run`.
        """
        future = self._begin(coroutine, closed)
        future.add_done_callback(lambda _: items.put(None))
        try:
            while (item := items.get()) is not None:
                yield item
            future.result()
        except CancelledError as error:
            raise closed from error
        finally:
            future.cancel()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on a loop that is open; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _begin(self, coroutine: Coroutine[Any, Any, T], closed: Exception) -> Future[T]:
        if self.closed:
            coroutine.close()
            raise closed
        return self.submit(coroutine)

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

"""One thread for each device, on which all computing for it is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@cache
def lane(device: str) -> ThreadPoolExecutor:
    """Return the thread of a device; work is done in the order in which it comes.

    Models share it. Each thread that computes on the CPU has a team of OpenMP threads of its own,
    and as soon as these teams are more than the cores, all of them sleep between any two
    operations: a small model then takes nearly twice as long for a token.

    Args:
        device: A torch device, such as 'cpu' or 'cuda:0'.
    """
    return ThreadPoolExecutor(1, f"rag-{device}")


def on_lane(device: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work on the thread of a device, and return its result."""
    future = lane(device).submit(work, *args, **kwargs)
    try:
        return future.result()
    finally:
        future.cancel()  # where waiting was interrupted


# A forked process has no threads but its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lane.cache_clear)

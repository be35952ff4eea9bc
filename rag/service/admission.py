"""What is worked on at once, what waits, and what is refused."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator

from starlette.requests import Request

from rag.service.errors import ApiError
from rag.service.leaving import unless_left

_LATEST = 0.1
"""Weight of the latest request in the mean of how long requests take."""


class Place:
    """A request's claim to be worked on; it waits until the claim is granted."""

    def __init__(self) -> None:
        self.granted = asyncio.Event()
        self.since = 0.0


class Admission:
    """Lets in so many requests at once; others wait in the order in which they came.

    Args:
        places: Requests that are worked on at once.
        most_waiting: Requests that may wait.
    """

    def __init__(self, places: int, most_waiting: int) -> None:
        self._places = places
        self._most_waiting = most_waiting
        self._queue: deque[Place] = deque()
        self._mean_seconds = 1.0
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def ask(self) -> Place:
        """Return a place, granted at once if one is free; it has to be given back either way.

        Raises:
            ApiError: As many wait as may (429).
        """
        place = Place()
        if self.running >= self._places and self.waiting >= self._most_waiting:
            raise ApiError(
                429,
                "overloaded",
                "the service has as many requests as it can take; try again later",
                headers={"Retry-After": str(self._seconds_until_free())},
            )
        self._queue.append(place)
        self._grant()
        return place

    def give_back(self, place: Place) -> None:
        """Let the next request have a place, or have one less wait."""
        if place.granted.is_set():
            self.running -= 1
            seconds = time.monotonic() - place.since
            self._mean_seconds += _LATEST * (seconds - self._mean_seconds)
        else:
            self._queue.remove(place)
        self._grant()

    def _grant(self) -> None:
        while self._queue and self.running < self._places:
            place = self._queue.popleft()
            place.since = time.monotonic()
            place.granted.set()
            self.running += 1

    def _seconds_until_free(self) -> int:
        """Estimate when those that wait now will have been let in, from 1 to 60 s."""
        seconds = self._mean_seconds * (self.waiting + 1) / self._places
        return min(60, max(1, math.ceil(seconds)))


async def admitted(request: Request) -> AsyncIterator[None]:
    """Hold one of the service's places until the reply has been sent, to the end of its stream.

    A route depends on it after it depends on its caller, so that strangers do not wait in line.
    """
    admission: Admission = request.app.state.service.admission
    place = admission.ask()
    try:
        if not place.granted.is_set():
            await unless_left(request, place.granted.wait())
        yield
    finally:
        admission.give_back(place)

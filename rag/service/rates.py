"""How many requests a minute somebody may send."""

from __future__ import annotations

import math
import time
from ipaddress import ip_address, ip_network

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request

from rag.service.errors import ApiError


class Rates:
    """Counts requests in a window of a minute that slides; counts end with the process."""

    def __init__(self) -> None:
        # Of a caller it keeps two numbers, for two minutes; an exact window keeps every request.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, what: str, who: str, per_minute: int) -> None:
        """Count a request.

        Args:
            what: What is counted, such as 'requests'.
            who: Whose it is: a key's id or an address.
            per_minute: How many there may be.

        Raises:
            ApiError: There were as many (429); it is not counted then.
        """
        limit = RateLimitItemPerMinute(per_minute)
        if not self._limiter.hit(limit, what, who):
            again = self._limiter.get_window_stats(limit, what, who).reset_time - time.time()
            raise ApiError(
                429,
                "rate_limited",
                f"more than {per_minute} {what} a minute",
                headers={"Retry-After": str(max(1, math.ceil(again)))},
            )


def address(request: Request) -> str:
    """Return where a request came from; all of an IPv6 network of 64 bits is one place."""
    host = request.client.host if request.client else ""
    try:
        if ip_address(host).version == 6:
            return str(ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        pass  # a socket of this machine has no address
    return host

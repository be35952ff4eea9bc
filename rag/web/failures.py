"""What goes wrong between a URL and its page."""

from __future__ import annotations

from rag.core.web import FetchFailure


class Failure(Exception):
    """A request that failed, for a fetcher to say of which page.

    Args:
        cause: The kind of failure.
        reason: What happened, and the next step where there is one.
        status: The HTTP status, if there was an answer.
    """

    def __init__(self, cause: FetchFailure, reason: str, status: int | None = None) -> None:
        self.cause: FetchFailure = cause
        self.reason = reason
        self.status = status
        super().__init__(reason)

"""What servers answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer to a GET request.

    Args:
        status: The HTTP status.
        headers: By name in lower case, as Latin-1; values of repeated ones are joined with ', '.
        body: The decoded body if the status is 2xx; else nothing.
        address: The address that it came from.
        retries: Attempts that had failed before.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: str
    retries: int = 0

    @property
    def location(self) -> str:
        """Where it redirects to; '' if it does not say. Beyond ASCII, servers send UTF-8."""
        return self.headers.get("location", "").encode("latin-1").decode(errors="replace")

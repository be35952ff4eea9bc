"""The id of the request that is being answered; it stands in logs and error replies."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")

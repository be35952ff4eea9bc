"""The record of each request: its id, its span, its line in the log, its place in the metrics."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

from opentelemetry import propagate
from opentelemetry.trace import SpanKind, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.service.access import Caller
from rag.service.errors import api_error, error_response
from rag.service.logs import log
from rag.service.metrics import Metrics
from rag.service.observing import TRACER
from rag.service.request_ids import request_id

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
_QUIET = ("/health", "/ready", "/metrics", "/static/{name}")
"""Routes that are asked all the time; the log has them at the level 'debug'."""


class RequestRecord:
    """Answers what fails unexpectedly, and records every request once it has been answered.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id.set(given if _ID.fullmatch(given) else secrets.token_hex(8))
        metrics: Metrics = scope["app"].state.service.metrics
        reply = _Reply(send)
        began = time.perf_counter()
        with (
            metrics.requests_under_way.track_inprogress(),
            TRACER.start_as_current_span(
                scope["method"],
                context=propagate.extract(headers),
                kind=SpanKind.SERVER,
                record_exception=False,
            ) as span,
        ):
            try:
                await self._app(scope, receive, reply.send)
            except Exception as error:  # noqa: BLE001 - logged, and not for callers to see
                if reply.status < 500:  # else it was told, and logged, further inside
                    log.error("a request failed", route=_route(scope), exc_info=error)
                if not reply.status:
                    await error_response(api_error(error))(scope, receive, reply.send)
            finally:
                seconds = time.perf_counter() - began
                route, method = _route(scope), scope["method"]
                method = method if method in _METHODS else "other"
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": reply.status,
                        "rag.request_id": request_id.get(),
                    }
                )
                if reply.status >= 500:
                    span.set_status(StatusCode.ERROR)
                metrics.requests.labels(method, route, str(reply.status)).inc()
                metrics.request_seconds.labels(route).observe(seconds)
                (log.debug if route in _QUIET else log.info)(
                    "request",
                    method=method,
                    route=route,
                    status=reply.status,
                    ms=round(1000 * seconds, 1),
                    bytes=reply.bytes,
                    key=_key(scope),
                )


class _Reply:
    """Passes a reply on, and keeps what the record says of it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.bytes = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = request_id.get()
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def _route(scope: Scope) -> str:
    """Return the template of the path, which has no names in it; 'none' where no route matched."""
    route: Any = scope.get("route")
    return getattr(route, "path", "none")


def _key(scope: Scope) -> str | None:
    """Return the id of the key that the request came with."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    return None if caller is None else caller.key_id

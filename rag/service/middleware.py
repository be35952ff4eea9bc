"""What every request and every reply passes through, outside of the routes."""

from __future__ import annotations

import asyncio
import re
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.service.errors import ApiError, error_response
from rag.service.request_record import RequestRecord
from rag.service.settings import Server

_BODY_SECONDS = 30
"""How long a client may send nothing of a body that it has begun."""

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d*)?")

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Of every reply whose route does not say otherwise."""


def around(app: ASGIApp, settings: Server) -> ASGIApp:
    """Return the application within all that its requests pass through.

    Args:
        app: The application, with its own error handling.
        settings: Where the service listens, and whose pages may use it.
    """
    app = TimedBodies(app, _BODY_SECONDS)
    if settings.origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "X-Request-ID"),
            expose_headers=("Retry-After", "X-Request-ID"),
        )
    return RequestRecord(SecurityHeaders(KnownAddresses(app, settings)))


class SecurityHeaders:
    """Adds the headers that keep browsers from doing more with a reply than showing it.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class KnownAddresses:
    """Refuses requests under a name that is not the service's, and those of other sites' pages.

    A page of another site cannot read replies, but it can send requests; and with a name of its
    own that it points at this machine (DNS rebinding) it could read them, too. Addresses in
    figures are nobody's to point elsewhere.

    Args:
        app: What answers.
        settings: The names, and the other origins whose pages may send requests.
    """

    def __init__(self, app: ASGIApp, settings: Server) -> None:
        self._app = app
        self._names = {name.casefold() for name in ("localhost", settings.host, *settings.hosts)}
        self._origins = frozenset(settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and (
            refusal := self._refusal(scope["method"], Headers(scope=scope))
        ):
            await error_response(refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> ApiError | None:
        host = headers.get("host", "localhost")
        if not self._known(host):
            return ApiError(
                421,
                "unknown_host",
                "the service is not known by the name that the request addresses; if it should "
                "be, add the name to server.hosts of its settings",
            )
        if "transfer-encoding" in headers and "content-length" in headers:
            # A proxy may go by the other one, and take the rest for somebody else's request.
            return ApiError(
                400,
                "ambiguous_length",
                "the request has a Content-Length and a Transfer-Encoding; send one of them",
                headers={"Connection": "close"},
            )
        if method in ("GET", "HEAD", "OPTIONS"):
            return None
        origin = headers.get("origin")
        if origin is None:
            foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        else:
            foreign = origin not in self._origins and origin.partition("://")[2] != host
        if foreign:
            return ApiError(
                403,
                "foreign_origin",
                "pages of other origins may not use the service; if this one should, add its "
                "origin to server.origins of the service's settings",
            )
        return None

    def _known(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["six"] or match["name"]
        if name.casefold() in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


class TimedBodies:
    """Ends requests whose bodies do not arrive.

    Args:
        app: What answers.
        seconds: How long a client may send nothing.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        arriving = True

        async def receive_in_time() -> Message:
            nonlocal arriving
            if not arriving:
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError:
                arriving = False
                raise HTTPException(
                    408, "the body did not arrive", headers={"Connection": "close"}
                ) from None
            arriving = bool(message.get("more_body"))
            return message

        timed = scope["type"] == "http"
        await self._app(scope, receive_in_time if timed else receive, send)

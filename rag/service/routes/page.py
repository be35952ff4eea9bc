"""`/` and `/static`: the page, which runs nothing but its own files and asks only the API."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import Request

from rag.service.errors import ApiError

router = APIRouter(include_in_schema=False)

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_CONTENT_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",  # and no policy makes any: text never becomes markup
    "trusted-types 'none'",
)

_HEADERS = {
    "Content-Security-Policy": "; ".join(_CONTENT_POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # kept, and asked for again by its tag
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    tag: str


@router.get("/")
def show_page(request: Request) -> Response:
    """Send the page."""
    return _sent(_packaged()["index.html"], request)


@router.get("/static/{name}")
def send_file(request: Request, name: str) -> Response:
    """Send one of the page's files.

    Raises:
        ApiError: There is none of that name.
    """
    file = _packaged().get(name)
    if file is None:
        raise ApiError(404, "not_found", "the page has no file of that name")
    return _sent(file, request)


def _sent(file: _File, request: Request) -> Response:
    headers = {**_HEADERS, "ETag": file.tag}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def _packaged() -> dict[str, _File]:
    """Return the files of the page by name; no other name is ever looked up."""
    found = {}
    for each in (files("rag.service") / "page").iterdir():
        content = each.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        found[each.name] = _File(content, _MEDIA_TYPES[PurePath(each.name).suffix], tag)
    return found

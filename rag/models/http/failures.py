"""What goes wrong between a call and its answer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from rag.core.errors import ContextOverflow, ModelError, ModelNotFound
from rag.models.http.endpoint import Endpoint

LONGEST_PAUSE = 60.0
"""Seconds that a server may ask to wait for before the next attempt."""

_MAY_PASS = frozenset((408, 429, 500, 502, 503, 504))
_SHOWN = 300


class Failure(Exception):
    """An attempt that failed.

    Args:
        reason: What happened, and the next step where there is one.
        status: The HTTP status, if there was an answer.
        passing: Whether another attempt may succeed.
        pause: Seconds that the server asks to wait for.
    """

    def __init__(
        self, reason: str, status: int | None = None, *, passing: bool = False, pause: float = 0
    ) -> None:
        self.reason = reason
        self.status = status
        self.passing = passing
        self.pause = pause
        super().__init__(reason)


def explain(
    model: str, endpoint: Endpoint, status: int, headers: Mapping[str, str], content: bytes
) -> Failure | ModelError:
    """Return what an answer other than 200 means.

    Args:
        model: The model's name.
        endpoint: Whom was asked; its key is kept out of the error.
        status: The HTTP status.
        headers: The answer's headers, to be looked up in lower case.
        content: Its body.
    """
    text = content.decode(errors="replace")
    error = _error_of(text)
    said = endpoint.redacted(error.get("message") or text)[:_SHOWN].strip()
    reason = f"the server answered {status}: {said}" if said else f"the server answered {status}"
    if 300 <= status < 400:
        target = endpoint.redacted(headers.get("location", "another address"))[:_SHOWN]
        return Failure(f"{reason} and redirects to {target}; redirects are not followed", status)
    if status in (401, 403):
        return Failure(f"{reason}; the key is taken from {endpoint.key_env}", status)
    if status in (400, 413) and (overflow := _overflow(error, said)):
        return ContextOverflow(model, *overflow)
    if status not in _MAY_PASS and looks_like_html(headers, text):
        return not_json(text, status)
    if status == 404 and re.search(r"\bmodel\b", said, re.IGNORECASE):
        return ModelNotFound(model, [f"{endpoint.base}: {said}"])
    if status == 404:
        return Failure(f"{reason}; is the base URL right? it usually ends in /v1", status)
    if status not in _MAY_PASS:
        return Failure(reason, status)
    pause = retry_after(headers.get("retry-after", ""))
    if pause > LONGEST_PAUSE:
        wait = f"asks to wait {pause:.0f} s, longer than the {LONGEST_PAUSE:.0f} s that are waited"
        return Failure(f"{reason}; it {wait}", status)
    return Failure(reason, status, passing=True, pause=pause)


def not_json(text: str, status: int) -> Failure:
    """Return the failure of an answer that should be JSON and is something else."""
    hint = "; is the base URL right? it usually ends in /v1" if "<" in text[:20] else ""
    return Failure(f"the server did not answer with JSON but {text[:60]!r}{hint}", status)


def looks_like_html(headers: Mapping[str, str], text: str) -> bool:
    """Say whether an answer is a web page."""
    return "text/html" in headers.get("content-type", "") or text.lstrip().startswith("<")


def retry_after(value: str) -> float:
    """Return the seconds of a Retry-After header, which holds seconds or a date; else 0."""
    if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _error_of(text: str) -> dict[str, Any]:
    """Return the error object of an answer, whatever the server wraps it in."""
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer.get("detail", answer))
    if not isinstance(error, dict):
        return {"message": str(error)}
    return {**error, "message": str(error.get("message", ""))}


def _overflow(error: Mapping[str, Any], said: str) -> tuple[int, int] | None:
    """Return the tokens asked for and the window, where an error is about them."""
    if isinstance(limit := error.get("n_ctx"), int):  # llama.cpp
        tokens = error.get("n_prompt_tokens")
    else:
        found = re.search(r"context (?:length|window|size)\D{0,20}(\d+)", said, re.IGNORECASE)
        if not found:
            return None
        limit = int(found[1])
        tokens = max(map(int, re.findall(r"\d+", said)))
    return max(tokens if isinstance(tokens, int) else 0, limit + 1), limit

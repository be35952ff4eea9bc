"""What goes wrong between a query and its results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus

from rag.core.web import EngineFailure
from rag.models.http.endpoint import Endpoint
from rag.models.http.failures import LONGEST_PAUSE, looks_like_html, retry_after
from rag.web.engines.results import plain_text

_SHOWN = 300

# Tavily's own statuses say that a plan, or what is paid as one goes, is used up.
_UNPAID = frozenset((401, 402, 432, 433))
# Brave answers a wrong key with 422, Google with 400, Serper with 403.
_ABOUT_THE_KEY = re.compile(
    r"api[ _-]?key|subscription|token|unauthori[sz]ed|credit|billing", re.IGNORECASE
)
_TAG = re.compile(r"<[^>]*>")
_CHALLENGE = re.compile(
    r"captcha|unusual traffic|(?:are|you're) (?:you )?(?:a )?(?:human|not a robot)|"
    r"/cdn-cgi/challenge-platform|enable javascript and cookies",
    re.IGNORECASE,
)


class Failure(Exception):
    """An attempt that failed.

    Args:
        cause: The kind of failure.
        reason: What happened, and the next step where there is one.
        status: The HTTP status, if there was an answer.
        passing: Whether another attempt may succeed.
        pause: Seconds that the server asks to wait for.
    """

    def __init__(
        self,
        cause: EngineFailure,
        reason: str,
        status: int | None = None,
        *,
        passing: bool = False,
        pause: float = 0.0,
    ) -> None:
        self.cause: EngineFailure = cause
        self.reason = reason
        self.status = status
        self.passing = passing
        self.pause = pause
        super().__init__(reason)


def explained(status: int, headers: Mapping[str, str], text: str, endpoint: Endpoint) -> Failure:
    """Return what an answer other than 200 means.

    Args:
        status: The HTTP status.
        headers: The answer's headers, to be looked up in lower case.
        text: Its body, without the key.
        endpoint: Who was asked.
    """
    if is_challenge(headers, text):
        return challenged(status)
    said = _said(text)
    reason = f"it answered {status}: {said}" if said else f"it answered {status}"
    if 300 <= status < 400:
        target = endpoint.redacted(headers.get("location", "another address"))[:_SHOWN]
        return Failure(
            "malformed", f"{reason}; redirects, here to {target}, are not followed", status
        )
    pause = retry_after(headers.get("retry-after", ""))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _passing("rate_limited", f"{reason}; give a lower per_second", status, pause)
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= 500:
        return _passing("unreachable", reason, status, pause)
    if endpoint.key_env and (status in _UNPAID or _ABOUT_THE_KEY.search(said)):
        return Failure("key", f"{reason}; the key is taken from {endpoint.key_env}", status)
    if status == HTTPStatus.NOT_FOUND:
        return Failure("malformed", f"{reason}; is the base URL right?", status)
    return Failure("blocked", reason, status)


def is_challenge(headers: Mapping[str, str], text: str) -> bool:
    """Say whether an answer is a web page that wants a person to prove that they are one."""
    if headers.get("cf-mitigated") == "challenge":
        return True
    return looks_like_html(headers, text) and _CHALLENGE.search(text) is not None


def challenged(status: int) -> Failure:
    """Return the failure of an engine that wants a person."""
    return Failure(
        "captcha",
        "it wants a person to solve a CAPTCHA; ask it less often, or another engine",
        status,
    )


def not_results(text: str) -> Failure:
    """Return the failure of an answer that should be a JSON object and is something else."""
    return Failure("malformed", f"it did not answer with a JSON object but {text[:60]!r}", 200)


def _passing(cause: EngineFailure, reason: str, status: int, pause: float) -> Failure:
    if pause > LONGEST_PAUSE:
        wait = f"asks to wait {pause:.0f} s, longer than the {LONGEST_PAUSE:.0f} s that are waited"
        return Failure(cause, f"{reason}; it {wait}", status)
    return Failure(cause, reason, status, passing=True, pause=pause)


def _said(text: str) -> str:
    """Return the message of an error, whatever the engine wraps it in."""
    try:
        said: object = json.loads(text)
    except (ValueError, RecursionError):
        return plain_text(_TAG.sub(" ", text[: 10 * _SHOWN]))[:_SHOWN]
    while isinstance(said, dict):
        inner = next(
            (said[name] for name in ("error", "detail", "message") if said.get(name)), None
        )
        said = inner if inner is not None else json.dumps(said)
    return plain_text(str(said))[:_SHOWN]

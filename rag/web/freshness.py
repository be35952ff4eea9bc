"""When a stored answer may be used again, as RFC 9111 says of a private cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from rag.web.replies import Reply

_STORABLE = frozenset((200, 301, 308))
_HEURISTIC_SHARE = 0.1
_HEURISTIC_SECONDS = 24 * 3600.0
_LONGEST = 2**31
_DIRECTIVE = re.compile(r'([\w-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s,]*)))?')


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer.

    Args:
        url: What was asked for.
        reply: The answer; its headers are those of the last confirmation.
        varied: Those headers of the request that the answer depends on, by name in lower case.
        asked: When the request, or the last for a confirmation, was sent, in seconds since the
            epoch.
        received: When the answer, or the last confirmation, came.
    """

    url: str
    reply: Reply
    varied: Mapping[str, str]
    asked: float
    received: float

    @classmethod
    def of(
        cls, url: str, reply: Reply, request: Mapping[str, str], asked: float, received: float
    ) -> Exchange:
        """Return what was exchanged, given all headers of the request, but for cookies."""
        headers = {name: v for name, v in reply.headers.items() if name != "set-cookie"}
        varied = _named(headers, request)
        return cls(url, replace(reply, headers=headers), varied, asked, received)

    @property
    def may_be_kept(self) -> bool:
        """Whether it may be stored, and could be of use then (section 3)."""
        headers = self.reply.headers
        return (
            self.reply.status in _STORABLE
            and "no-store" not in _directives(headers)
            and "*" not in headers.get("vary", "")
            and (bool(self.conditions) or self.is_fresh(self.received))
        )

    @property
    def conditions(self) -> dict[str, str]:
        """The headers with which a server is asked whether anything has changed."""
        validators = {"If-None-Match": "etag", "If-Modified-Since": "last-modified"}
        headers = self.reply.headers
        return {name: headers[of] for name, of in validators.items() if of in headers}

    def is_fresh(self, now: float) -> bool:
        """Say whether it may be used without asking (section 4.2)."""
        if "no-cache" in _directives(self.reply.headers):
            return False
        return _lifetime(self.reply.headers, self.received) > self._age(now)

    def answers(self, request: Mapping[str, str]) -> bool:
        """Say whether it is the answer to a request with these headers (section 4.1)."""
        return self.varied == _named(self.reply.headers, request)

    def confirmed(self, reply: Reply, asked: float, received: float) -> Exchange:
        """Return it as a 304 leaves it (section 3.2): what the headers say of the body stays.

        Args:
            reply: The 304.
            asked: When it was asked for.
            received: When it came.
        """
        news = {name: v for name, v in reply.headers.items() if not name.startswith("content-")}
        # An age or date that the 304 does not repeat is that of the answer before it.
        kept = {k: v for k, v in self.reply.headers.items() if k not in ("age", "date")}
        confirmed = replace(self.reply, headers=kept | news)
        return replace(self, reply=confirmed, asked=asked, received=received)

    def _age(self, now: float) -> float:
        """Return the seconds since its server made or confirmed it (section 4.2.3)."""
        headers = self.reply.headers
        date = _time(headers.get("date", ""))
        apparent = 0.0 if date is None else max(0.0, self.received - date)
        stated = _seconds(headers.get("age", "")) + self.received - self.asked
        return max(apparent, stated) + max(0.0, now - self.received)


def _lifetime(headers: Mapping[str, str], received: float) -> float:
    """Return the seconds for which an answer is fresh (sections 4.2.1 and 4.2.2)."""
    directives = _directives(headers)
    if "max-age" in directives:
        return _seconds(directives["max-age"])
    date = _time(headers.get("date", ""))
    made = received if date is None else date
    if "expires" in headers:
        expires = _time(headers["expires"])
        return 0.0 if expires is None else expires - made
    modified = _time(headers.get("last-modified", ""))
    if modified is None:
        return 0.0
    return min(_HEURISTIC_SECONDS, _HEURISTIC_SHARE * (made - modified))


def _directives(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the directives of Cache-Control; the first of each name counts."""
    found: dict[str, str] = {}
    for name, quoted, bare in _DIRECTIVE.findall(headers.get("cache-control", "")):
        found.setdefault(name.lower(), quoted or bare)
    return found


def _named(headers: Mapping[str, str], request: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request that an answer's Vary names; '' for those not sent."""
    sent = {name.lower(): value for name, value in request.items()}
    names = headers.get("vary", "").lower().split(",")
    return {name: sent.get(name, "") for name in sorted(map(str.strip, names)) if name}


def _seconds(value: str) -> float:
    """Return a header's number of seconds; 0 if it is none."""
    digits = re.match(r"\s*(\d+)", value)
    return float(min(int(digits[1][:10]), _LONGEST)) if digits else 0.0


def _time(value: str) -> float | None:
    """Return a header's date in seconds since the epoch; None if it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None

"""Results as engines state them, and as they are returned."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from html import unescape
from urllib.parse import urlsplit

from rag.core.web import WebResult

# What engines mark words with, not whatever stands in angle brackets: 'vector<int>' is text.
_MARKUP = re.compile(
    r"</?(?:a|b|br|code|div|em|font|i|li|mark|ol|p|small|span|strong|sub|sup|u|ul|wbr)\b[^<>]*>",
    re.IGNORECASE,
)
# Control characters and what has no width: format characters, halves of surrogate pairs.
_UNSEEN = frozenset(("Cc", "Cf", "Cs"))

_MONTHS = (
    "january february march april may june july august september october november december"
).split()
_ISO = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?![\d-]).*")
_MONTH_FIRST = re.compile(r"(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2}), (?P<year>\d{4})")
_DAY_FIRST = re.compile(
    r"(?:[a-z]{3,9},? )?(?P<day>\d{1,2}) (?P<month>[a-z]{3,9})\.?,? (?P<year>\d{4})(?: \d.*)?"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A result as an engine states it.

    Args:
        url: The page's URL.
        title: Its title, possibly with markup.
        snippet: Some of its text, possibly with markup.
        date: When it was published, in the engine's way of saying so.
    """

    url: str
    title: str
    snippet: str
    date: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no text."""
        for text in (self.url, self.title, self.snippet, self.date):
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no text")


@dataclass(frozen=True, slots=True)
class ResultPage:
    """One page of results.

    Args:
        entries: The results, best first.
        notes: What fell short.
    """

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def ranked(entries: Iterable[Entry], engine: str, count: int) -> tuple[WebResult, ...]:
    """Return the first results that lead to a page of the web, in order, each page once."""
    distinct: dict[str, Entry] = {}
    for entry in entries:
        if _leads_to_a_page(url := entry.url.strip()):
            distinct.setdefault(url, entry)
    return tuple(
        WebResult(
            url,
            title=plain_text(entry.title),
            snippet=plain_text(entry.snippet),
            rank=rank,
            engine=engine,
            date=iso_date(entry.date),
        )
        for rank, (url, entry) in enumerate(list(distinct.items())[:count], start=1)
    )


def plain_text(text: str) -> str:
    """Return a text without markup, entities, and characters that nobody sees."""
    text = unescape(_MARKUP.sub("", text))
    return " ".join("".join(each for each in text if each.isspace() or not _unseen(each)).split())


def iso_date(text: str) -> str:
    """Return a date as 'YYYY-MM-DD'; '' where it is not certain, such as '3 weeks ago'."""
    text = " ".join(text.lower().split())
    for form in (_ISO, _MONTH_FIRST, _DAY_FIRST):
        if found := form.fullmatch(text):
            try:
                day = date(int(found["year"]), _month(found["month"]), int(found["day"]))
            except ValueError:  # no such month, or no such day in it
                return ""
            return day.isoformat()
    return ""


def _month(text: str) -> int:
    """Return the number of a month; 0 if there is none of that name."""
    if text.isdecimal():
        return int(text)
    return next((n for n, name in enumerate(_MONTHS, 1) if name.startswith(text)), 0)


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _leads_to_a_page(url: str) -> bool:
    if any(each.isspace() or _unseen(each) for each in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False

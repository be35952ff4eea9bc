"""Keywords for a search engine, cleaned of what a language model should not have put there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

LONGEST = 160
"""Characters of a query at most."""

_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    "sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\\.?"
)
_YEAR = re.compile(r"(?<![\d.,])(?:19|20)\d\d(?!\d|[.,]\d)")
# A year with the day and month around it, and the second year of a season.
_DATED = re.compile(
    rf"(?:\b(?:as of|in|since)\s+)?(?:\b(?:\d{{1,2}}\s+)?{_MONTH}\s+(?:\d{{1,2}},?\s+)?)?"
    rf"({_YEAR.pattern})(?:-\d\d-\d\d\b|\s?[-/\u2013]\s?(?:\d\d)?\d\d\b)?",
    re.IGNORECASE,
)
_NEIGHBOUR = {
    -1: re.compile(r"\b(?:ago|last|past|previous|yesterday)\b", re.IGNORECASE),
    1: re.compile(r"\b(?:next|tomorrow|upcoming)\b", re.IGNORECASE),
}
# Addresses, operators of search engines, and signs that demand or exclude a word.
_SYNTAX = re.compile(
    r"\b(?:https?://|www\.)\S+"
    r"|(?<!\S)-?(?:after|before|cache|ext|filetype|in(?:text|title|url)|related|site):\s?\S*"
    r'|(?<!\S)[-+](?=[^\W\d])|["\u201c\u201d]',
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Keywords:
    """Queries that may be sent, and what was left out of them.

    Args:
        queries: The queries, each once.
        stale_years: Years that the model put there, and that the question does not speak of.
    """

    queries: tuple[str, ...]
    stale_years: tuple[int, ...] = ()


def clean(written: Iterable[str], question: str, today: date) -> Keywords:
    """Clean the queries that a model wrote for a question.

    Control characters, addresses and operators go, unless the question has them, and so do years
    that it does not speak of: a model writes the years of what it was trained on. What is left is
    cut to `LONGEST` characters; queries without any word are left out.

    Args:
        written: The queries.
        question: The question.
        today: The day on which it is asked.
    """
    known = {today.year, *named_years(question)}
    known |= {today.year + step for step, said in _NEIGHBOUR.items() if said.search(question)}
    stale: dict[int, None] = {}

    def undated(match: re.Match[str]) -> str:
        year = int(match[1])
        if year in known or match[0].lower() in question.lower():
            return match[0]
        stale[year] = None
        return " "

    def plain(match: re.Match[str]) -> str:
        return match[0] if match[0].lower() in question.lower() else " "

    queries: dict[str, str] = {}
    for each in written:
        text = _DATED.sub(undated, _SYNTAX.sub(plain, _printable(each)))
        query = _short(" ".join(text.split()))
        if any(map(str.isalnum, query)):
            queries.setdefault(query.lower(), query)
    return Keywords(tuple(queries.values()), tuple(stale))


def as_query(question: str) -> str:
    """Return a question as a query by itself: on one line, and not too long."""
    return _short(" ".join(_printable(question).split()))


def named_years(question: str) -> list[int]:
    """Return the years that a question names, in order."""
    return [int(year) for year in _YEAR.findall(question)]


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _short(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return text[: text.rfind(" ", 0, LONGEST + 1)] if " " in text[:LONGEST] else text[:LONGEST]

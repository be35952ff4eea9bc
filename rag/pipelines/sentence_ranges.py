"""The ranges of numbered sentences that a language model's reply names.

A sentence that is quoted because some number of a reply happened to name it misleads. So a reply
that is not surely an answer of this form states nothing, and the caller keeps what it had.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rag.pipelines.json_replies import parse_object

Range = tuple[int, int]
"""The first and the last of some sentences."""

_THINKING = re.compile(r"(?is)<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)")
_PAIR = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*\]")
_DASH = re.compile(r"(?<=\d)\s*(?:[-\u2013\u2014]|\bto\b|\bthrough\b)\s*(?=\d)")
_NAMED = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_WORD = re.compile(r"[^\s,;:&()\[\]]+")
_ANNOUNCING = frozenset("and answer lines numbers ranges relevant sentence sentences the".split())


def parse_ranges(text: str, count: int, most: int) -> list[Range] | None:
    """Read the ranges that a reply names.

    Understood are `{"ranges": [[3, 5], [9, 9]]}`, and a line such as `3-5, 9` or `none`, with no
    more around it than words that announce it.

    Args:
        text: The reply, of whatever kind.
        count: How many sentences there are, numbered from 1.
        most: Ranges at most; of more, the first ones that the reply names count.

    Returns:
        Ranges in order, apart from one another, within 1 to `count`; none where the reply says that
        no sentence helps. None where it states neither.
    """
    said = _THINKING.sub("", text)
    stated = parse_object(said)
    named = _of_lines(said) if stated is None else _of_json(stated.get("ranges"))
    if not named:
        return named
    possible = [
        (max(1, first), min(last, count))
        for first, last in (sorted(pair) for pair in named)
        if first <= count and last >= 1
    ]
    return _joined(possible[:most]) or None


def _of_json(ranges: Any) -> list[Range] | None:
    if not isinstance(ranges, list):
        return None
    named = []
    for each in ranges:
        pair = each if isinstance(each, list) else [each]
        if not 1 <= len(pair) <= 2 or not all(type(number) is int for number in pair):
            return None
        named.append((pair[0], pair[-1]))
    return named


def _of_lines(text: str) -> list[Range] | None:
    for line in text.lower().splitlines():
        named = _of_line(line)
        if named is not None:
            return named
    return None


def _of_line(line: str) -> list[Range] | None:
    """Return the ranges of a line that consists of nothing else; None of any other line."""
    if "[[" in line:
        line = _PAIR.sub(r"\1-\2", line)
    said = [each.strip("*`\"'.") for each in _WORD.findall(_DASH.sub("-", line))]
    words = [each for each in said if each and each not in _ANNOUNCING]
    if words[:1] == ["none"] or (words[:1] == ["no"] and "sentence" in line):
        return []
    named = [match for each in words if (match := _NAMED.fullmatch(each))]
    if not words or len(named) < len(words):
        return None
    return [(int(each[1]), int(each[2] or each[1])) for each in named]


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges in order, those that touch or overlap as one."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined

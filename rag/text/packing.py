"""Blocks of a text to ranges that fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from rag.text.outline import Block, Path
from rag.text.sentences import sentence_ends
from rag.text.tokens import Tokens

_LINE_END = re.compile(r"\n")
_WORD_END = re.compile(r"\s+")


class Range(NamedTuple):
    """A passage's place in the text, and the headings above it."""

    start: int
    end: int
    path: Path


class _Piece(NamedTuple):
    """A range that is not cut further, with the headings that lead into it.

    Attributes:
        start: Its first character.
        body: Where its headings end; `start` if it has none.
        end: One past its last character.
        kind: Kind of its block.
        path: Headings above it.
    """

    start: int
    body: int
    end: int
    kind: str
    path: Path

    @property
    def opens(self) -> bool:
        """Whether it begins with a heading."""
        return self.body > self.start


@dataclass(slots=True)
class _Group:
    """Pieces that make one range, and the piece before it if that is in the same section."""

    start: int
    end: int
    path: Path
    last: _Piece
    body: int
    before: _Group | None


class Packer:
    """Packs blocks into few ranges, in time linear in the text.

    Args:
        text: The text.
        tokens: Its tokens.
        rooms: Tokens that a range may have, for each path of headings.
        overlap: Most tokens that a range repeats of the one before it.
    """

    def __init__(self, text: str, tokens: Tokens, rooms: Mapping[Path, int], overlap: int) -> None:
        self._text = text
        self._tokens = tokens
        self._rooms = rooms
        self._overlap = overlap

    def pack(self, blocks: Sequence[Block]) -> list[Range]:
        """Return ranges in order; they cover all of the blocks but white space.

        A range goes on over a heading only while it is small, and only into sections that its
        own headings are above of too. A small rest of a section repeats more than `overlap` of
        what is before it.
        """
        ranges: list[Range] = []
        group: _Group | None = None
        for piece in self._pieces(blocks):
            before = None
            if group and piece.path[: len(group.path)] == group.path:
                if self._joins(group, piece):
                    group.end, group.last = piece.end, piece
                    group.body = piece.body if piece.opens else group.body
                    continue
                before = None if piece.opens else group
            if group:
                ranges.append(self._range(group, ranges))
            group = _Group(piece.start, piece.end, piece.path, piece, piece.body, before)
        if group:
            ranges.append(self._range(group, ranges))
        return ranges

    def _joins(self, group: _Group, piece: _Piece) -> bool:
        room = self._rooms[group.path] - (self._overlap if group.before else 0)
        if self._tokens.count(group.start, piece.end) > room:
            return False
        return not piece.opens or self._tokens.count(group.start, group.end) < room // 4

    def _range(self, group: _Group, ranges: Sequence[Range]) -> Range:
        start = group.start
        if before := group.before:
            own = self._tokens.count(start, group.end)
            room = self._rooms[group.path]
            wanted = min(max(self._overlap, room // 4 - own), room - own)
            floor = max(ranges[-1].start + 1, before.body)
            start = self._back(start, wanted, floor, before.last)
        text = self._text[start : group.end]
        start += len(text) - len(text.lstrip())
        return Range(start, start + len(text.strip()), group.path)

    def _back(self, start: int, tokens: int, floor: int, last: _Piece) -> int:
        """Return where to begin to repeat at most `tokens` tokens of what is before `start`."""
        earliest = max(self._tokens.before(start, tokens), floor) if tokens > 0 else start
        if last.kind != "text":
            # Half a table or a piece of code would only confuse.
            return last.body if earliest <= last.body < start else start
        # A sentence or word that begins at `earliest` shows by the end of the one before it.
        sentences = sentence_ends(self._text, max(floor, earliest - 2), start)
        words = _WORD_END.finditer(self._text, max(floor, earliest - 1), start)
        cuts = chain(sentences, (match.end() for match in words))
        return next((cut for cut in cuts if earliest <= cut < start), start)

    def _pieces(self, blocks: Sequence[Block]) -> Iterator[_Piece]:
        """Cut blocks that are too long, and tie headings to what they head."""
        above: list[Block] = []
        for block in blocks:
            if block.kind == "heading":
                if above and block.path[: len(above[0].path)] != above[0].path:
                    yield from self._alone(above)
                    above = []
                above.append(block)
                continue
            room = self._rooms[block.path]
            if above:
                left = min(room, self._rooms[above[0].path])
                left -= self._tokens.count(above[0].start, block.start)
                if left < room // 2:
                    yield from self._alone(above)
                    above = []
                else:
                    room = left
            for start, end in self._cut(block.start, block.end, block.kind, room):
                if above:
                    yield _Piece(above[0].start, start, end, block.kind, above[0].path)
                    above = []
                else:
                    yield _Piece(start, start, end, block.kind, block.path)
        yield from self._alone(above)

    def _alone(self, headings: Sequence[Block]) -> Iterator[_Piece]:
        """Yield headings that nothing follows, or that are too long to share a range."""
        for heading in headings:
            room = self._rooms[heading.path]
            for start, end in self._cut(heading.start, heading.end, "heading", room):
                yield _Piece(start, end, end, "heading", heading.path)

    def _cut(self, start: int, end: int, kind: str, room: int) -> Iterator[tuple[int, int]]:
        """Cut a range into sentences or lines, and those into words, if it is too long."""
        if self._tokens.count(start, end) <= room:
            yield start, end
            return
        for cut in [*self._cuts(start, end, kind), end]:
            if self._text[start:cut].strip():
                yield from self._cut_words(start, cut, room)
                start = cut

    def _cuts(self, start: int, end: int, kind: str) -> Iterator[int]:
        """Yield where sentences of text, or lines of code and tables, end in a range."""
        if kind in ("code", "table"):
            yield from (match.end() for match in _LINE_END.finditer(self._text, start, end))
        else:
            yield from sentence_ends(self._text, start, end)

    def _cut_words(self, start: int, end: int, room: int) -> Iterator[tuple[int, int]]:
        """Cut a range between words, or between tokens where a word alone is too long."""
        while self._tokens.count(start, end) > room:
            cut = self._tokens.after(start, room)
            half = self._tokens.after(start, room // 2)
            space = max(self._text.rfind(mark, half, cut) for mark in " \n\t") + 1
            cut = space if space > start else cut
            if not start < cut < end:
                break
            yield start, cut
            start = cut
        yield start, end

"""Where the tokens of a text lie."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

TokenSpans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]
"""Returns the character range of each token of each text, special tokens left out."""

# Long texts are read in parts: tokenizers run one thread a text, and a list of spans is large.
_PART_CHARACTERS = 50_000
_BATCH_CHARACTERS = 2_000_000
# Tokenizers give up on very long words and call them one unknown token; believing that would
# let a passage grow without limit.
_TOKEN_CHARACTERS = 32


class Tokens:
    """The tokens of one text, to count and to cut at."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.ends = array("q")

    def extend(self, spans: Sequence[tuple[int, int]], offset: int) -> None:
        """Append the tokens of the part of the text that begins at `offset`."""
        if all(end - start <= _TOKEN_CHARACTERS for start, end in spans):
            self.starts.extend([offset + start for start, _ in spans])
            self.ends.extend([offset + end for _, end in spans])
            return
        for start, end in spans:
            for cut in range(start, max(end, start + 1), _TOKEN_CHARACTERS):
                self.starts.append(offset + cut)
                self.ends.append(offset + min(cut + _TOKEN_CHARACTERS, end))

    def count(self, start: int, end: int) -> int:
        """Count the tokens that have a character in a range."""
        return max(0, bisect_left(self.starts, end) - bisect_right(self.ends, start))

    def before(self, position: int, count: int) -> int:
        """Return where the last `count` tokens before a position begin."""
        index = max(0, bisect_left(self.starts, position) - count)
        return self.starts[index] if index < len(self.starts) else position

    def after(self, position: int, count: int) -> int:
        """Return where the token `count` tokens after a position begins."""
        index = bisect_right(self.ends, position) + count
        return self.starts[index] if index < len(self.starts) else self.ends[-1]


def tokenize(texts: Sequence[str], token_spans: TokenSpans) -> list[Tokens]:
    """Locate the tokens of texts of any length."""
    tokens = [Tokens() for _ in texts]
    batch: list[tuple[int, int, str]] = []
    held = 0
    for index, text in enumerate(texts):
        for start, end in _parts(text):
            batch.append((index, start, text[start:end]))
            held += end - start
            if held >= _BATCH_CHARACTERS:
                _read(batch, tokens, token_spans)
                batch, held = [], 0
    _read(batch, tokens, token_spans)
    return tokens


def _read(batch: list[tuple[int, int, str]], tokens: list[Tokens], token_spans: TokenSpans) -> None:
    if batch:
        found = token_spans([part for _, _, part in batch])
        for (index, offset, _), spans in zip(batch, found, strict=True):
            tokens[index].extend(spans, offset)


def _parts(text: str) -> list[tuple[int, int]]:
    """Cut a text at line breaks, else spaces, into parts to tokenise at once."""
    parts, start = [], 0
    while len(text) - start > _PART_CHARACTERS:
        limit = start + _PART_CHARACTERS
        cut = text.rfind("\n", start, limit) + 1 or text.rfind(" ", start, limit) + 1 or limit
        parts.append((start, cut))
        start = cut
    return [*parts, (start, len(text))]

"""Texts as the words that lexical search compares, the same wherever a collection is kept.

Text is lower-cased, folded to ASCII and stemmed (Snowball English); a compound such as
`DiffExecutor` or `IL6` counts whole and by its parts. Words of the label, that is of title and
headings, count twice (Robertson, Zaragoza and Taylor, CIKM 2004). Function words of a query count
only where there is nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from rag.core.documents import Passage

if TYPE_CHECKING:
    import tantivy

BM25_K1, BM25_B = 1.2, 0.75
"""Tantivy's; there is no setting for them."""

_STOP_WORDS = (
    "a about am an and are as at be been but by can could did do does for had has have how if in "
    "into is it may might no not of on or s should such t that the their then there these they "
    "this to was were what when where which who whom whose why will with would"
).split()
_BOUNDARY = r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])"
_COMPOUND = re.compile(rf"\b\w+?(?:{_BOUNDARY})\w+")
_PARTS = re.compile(_BOUNDARY)
_LONGEST_TERM = 64


def analyzer(stop_words: Sequence[str] = ()) -> tantivy.TextAnalyzer:
    """Return what takes a text apart into words."""
    import tantivy

    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_LONGEST_TERM))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.custom_stopword(list(stop_words)))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def passage_text(passage: Passage) -> str:
    """Return the text to analyse of a passage: the label twice, and the parts of compounds."""
    return _with_parts(f"{passage.label}\n{passage.indexed_text}")


def passage_words(passage: Passage) -> list[str]:
    """Return the words of a passage."""
    words: list[str] = _all_words().analyze(passage_text(passage))
    return words


def query_words(query: str) -> list[str]:
    """Return the words of a query; it is never read as query syntax."""
    text = _with_parts(query)
    words: list[str] = _content_words().analyze(text) or _all_words().analyze(text)
    return words


@cache
def _all_words() -> tantivy.TextAnalyzer:
    return analyzer()


@cache
def _content_words() -> tantivy.TextAnalyzer:
    return analyzer(_STOP_WORDS)


def _with_parts(text: str) -> str:
    """Append the parts of compounds, which the tokenizer would keep whole."""
    parts = [_PARTS.sub(" ", compound) for compound in _COMPOUND.findall(text)]
    return " ".join((text, *parts))

"""Words as they are compared: lower-cased, folded to ASCII and stemmed (Snowball English)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_STOP_WORDS = frozenset(
    "a about all also an and any are as at be because been but by can could did do does for from "
    "had has have he her his how i if in into is it its itself may more most must no not of on or "
    "other our she should so some such than that the their them then there these they this those "
    "to was we were what when where which who whom whose why will with would you your".split()
)
_WORD = re.compile(r"\w+")


def stems(text: str, *, content_only: bool = False) -> list[str]:
    """Return the stems of a text's words, in order.

    Args:
        text: The text.
        content_only: Whether to leave out function words, such as 'the'.
    """
    if content_only:
        words = (word for word in _WORD.findall(text) if word.lower() not in _STOP_WORDS)
        text = " ".join(words)
    analyzed: list[str] = _analyzer().analyze(text)
    return analyzed


@lru_cache(maxsize=1)
def _analyzer() -> Any:
    import tantivy

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(r"\w+"))
    for each in (
        tantivy.Filter.lowercase(),
        tantivy.Filter.ascii_fold(),
        tantivy.Filter.stemmer("english"),
    ):
        builder = builder.filter(each)
    return builder.build()

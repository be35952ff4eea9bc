"""Measures of an answer against accepted ones.

Texts are normalised as SQuAD does (arXiv 1606.05250, section 6.1): lower case, no punctuation, no
articles, single spaces. Of several accepted answers the best match counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalized(text: str) -> str:
    """Return what of a text is compared."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """Return 1 if the answer is one of the accepted ones, else 0."""
    return float(normalized(answer) in map(normalized, accepted))


def f1(answer: str, accepted: Sequence[str]) -> float:
    """Return the harmonic mean of word precision and recall against the best accepted answer."""
    return max(_f1(normalized(answer).split(), normalized(each).split()) for each in accepted)


def accuracy(answer: str, accepted: Sequence[str]) -> float:
    """Return 1 if an accepted answer stands in the answer, as whole words, else 0.

    The accuracy of arXiv 2410.04343, section 4.1.
    """
    words = f" {normalized(answer)} "
    return float(any(f" {normalized(each)} " in words for each in accepted))


ANSWER_METRICS: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "EM": exact_match,
    "F1": f1,
    "accuracy": accuracy,
}
"""The measures by name."""


def _f1(words: Sequence[str], accepted: Sequence[str]) -> float:
    if not words or not accepted:
        return float(words == accepted)
    common = (Counter(words) & Counter(accepted)).total()
    return 2 * common / (len(words) + len(accepted))

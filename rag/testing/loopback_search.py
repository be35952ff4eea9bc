"""The searching half of `LoopbackSearXNG`: BM25 over a few thousand pages, and snippets."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_SNIPPET_WORDS = 25


class BM25:
    """Ranks texts by the Okapi weighting (Robertson et al., TREC-3, 1994), k1 = 1.2, b = 0.75.

    Args:
        texts: What is searched.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(_WORD.findall(text.lower())) for text in texts]
        self._lengths = [count.total() for count in counts]
        self._mean_length = sum(self._lengths) / max(1, len(texts))
        self._postings: dict[str, dict[int, int]] = defaultdict(dict)
        for number, count in enumerate(counts):
            for word, times in count.items():
                self._postings[word][number] = times

    def weight(self, word: str) -> float:
        """Return how much a word says: its inverse document frequency, always above 0."""
        found = len(self._postings.get(word, ()))
        return math.log(1 + (len(self._lengths) - found + 0.5) / (found + 0.5))

    def rank(self, query: str) -> list[int]:
        """Return the numbers of the texts that share words with a query, best first."""
        scores: dict[int, float] = defaultdict(float)
        for word in set(_WORD.findall(query.lower())):
            for number, times in self._postings.get(word, {}).items():
                length = self._lengths[number] / self._mean_length
                share = times * 2.2 / (times + 1.2 * (0.25 + 0.75 * length))
                scores[number] += self.weight(word) * share
        return sorted(scores, key=lambda number: (-scores[number], number))

    def snippet(self, query: str, text: str) -> str:
        """Return the 25 words of a text that hold most of a query, or all there are."""
        wanted = set(_WORD.findall(query.lower()))
        words = text.split()

        def value(start: int) -> float:
            window = " ".join(words[start : start + _SNIPPET_WORDS]).lower()
            return sum(map(self.weight, sorted(wanted & set(_WORD.findall(window)))))

        best = max(range(max(1, len(words) - _SNIPPET_WORDS + 1)), key=value)
        return " ".join(words[best : best + _SNIPPET_WORDS])

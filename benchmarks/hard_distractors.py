"""Passages that are like a question and do not answer it: hard distractors."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from rank_bm25 import BM25Okapi

# Words of questions that say nothing about their subject.
COMMON = frozenset(
    """
    a about an and are as at be been by can could did do does for from had has have how in into is
    it its many most much of on or s so some that the their there these they this to was were what
    when where which who whom whose why will with would you your
    """.split()
)


class Distractors:
    """Finds distractors among passages.

    Args:
        texts: Text of each passage by its id.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._words = {passage_id: words(text) for passage_id, text in texts.items()}
        self._index = BM25Okapi(list(self._words.values()))

    def hardest(
        self, question: str, answers: Sequence[str], gold: Collection[str], count: int
    ) -> list[str]:
        """Return the ids of those that BM25 ranks highest, without any that state an answer."""
        ranking = self.ranked(question, self._words)
        fit = [each for each in ranking if each not in gold and not self.states(each, answers)]
        return fit[:count]

    def ranked(self, question: str, passage_ids: Iterable[str]) -> list[str]:
        """Return the ids of passages in the order in which BM25 ranks them, best first."""
        subject = [word for word in words(question) if word not in COMMON]
        scores = dict(zip(self._words, self._index.get_scores(subject), strict=True))
        return sorted(passage_ids, key=lambda each: -scores[each])

    def states(self, passage_id: str, answers: Sequence[str]) -> bool:
        """Say whether one of the answers stands in a passage."""
        text = f" {' '.join(self._words[passage_id])} "
        return any(f" {' '.join(words(answer))} " in text for answer in answers)


def words(text: str) -> list[str]:
    """Return the words that are compared."""
    return re.findall(r"\w+", text.lower())

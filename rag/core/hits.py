"""What a search returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rag.core.documents import Passage


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage and why it was retrieved.

    Args:
        passage: The passage.
        score: The score that the list is ordered by, higher is better.
        scores: Where the score comes from: a raw score for each part that had a say, such as
            {'dense': 0.71, 'lexical': 12.4}.
        ranks: Rank, from 1, in each part's own list; a part that did not return the passage
            is absent.
    """

    passage: Passage
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)

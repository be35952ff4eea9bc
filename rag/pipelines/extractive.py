"""Answers without a language model: the sentences that speak most of the question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rag.core.answers import Answer
from rag.core.filters import Where
from rag.core.hits import Hit
from rag.core.protocols import Retriever
from rag.core.search_operations import Search
from rag.pipelines.base import Pipeline
from rag.pipelines.citations import citation
from rag.pipelines.support import Sentence, content_stems, sentences

NOTHING_FOUND = "Nothing in the documents speaks of this."
UNREAD = "no model read the passages"
"""Stands in the notes of an answer for which the budget or the window allowed no call."""
ENOUGH = 0.5
"""Share of the question that a sentence must have to be quoted."""


class ExtractiveRead(Pipeline):
    """Searches, and answers with the best supporting sentences.

    Args:
        retriever: Where to look.
        top_k: Passages to search for.
        most: Sentences to answer with, at most.
    """

    def __init__(self, retriever: Retriever, *, top_k: int = 10, most: int = 3) -> None:
        super().__init__(retriever)
        self.top_k = top_k
        self.most = most

    async def program(self, question: str, where: Where | None = None) -> Answer:
        """Search once and pick the sentences."""
        hits = await Search(question, self.top_k, where)
        return extract(question, hits, self.most)


def extract(question: str, hits: Sequence[Hit], most: int = 3) -> Answer:
    """Answer with sentences of the passages, best first.

    A sentence's score is the share of the question's words that it has, rare ones counting more
    (inverse frequency among the sentences at hand), its passage's label counting for half. Of a
    question whose words mostly occur nowhere, the documents do not speak.

    Args:
        question: The question.
        hits: Passages, best first.
        most: Sentences at most.
    """
    candidates = sentences(hits)
    asked = content_stems(question)
    frequency = Counter(stem for each in candidates for stem in each.stems & asked)
    weights = {stem: math.log(1 + len(candidates) / (1 + frequency[stem])) for stem in asked}
    labels = [content_stems(hit.passage.label) for hit in hits]

    def coverage(sentence: Sentence) -> float:
        here = sum(weights[stem] for stem in asked & sentence.stems)
        above = sum(weights[stem] for stem in (asked & labels[sentence.hit]) - sentence.stems)
        return (here + 0.5 * above) / sum(weights.values()) if here else 0.0

    # A passage's rank decides between sentences that are about as good.
    scored = [(coverage(each), each) for each in candidates]
    relevant = [(share / (1 + 0.1 * each.hit), each) for share, each in scored if share >= ENOUGH]
    best = sorted(relevant, key=lambda row: -row[0])[:most]
    if not best:
        return Answer(NOTHING_FOUND, supported=False, hits=tuple(hits))
    citations = tuple(citation(n, each, hits) for n, (_, each) in enumerate(best, start=1))
    text = "\n".join(f"{each.quote} [{each.number}]" for each in citations)
    return Answer(text, citations, hits=tuple(hits))


def unread(question: str, hits: Sequence[Hit], reason: str, notes: Sequence[str] = ()) -> Answer:
    """Answer with sentences of passages that no model could read, and say why."""
    answer = extract(question, hits)
    return replace(answer, notes=(*notes, f"{UNREAD}: {reason}"))

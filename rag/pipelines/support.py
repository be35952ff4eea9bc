"""Which sentence of which passage supports a claim.

Support is judged by words: a sentence supports a claim when it has most of the claim's own words
(those that are not the question's already), all its own names and numbers, and a negation if the
claim has one and none if it has none. That is a check of where a claim comes from, not of whether
it follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag.core.hits import Hit
from rag.text.sentences import sentence_spans
from rag.text.stems import stems

ENOUGH = 0.6
"""Share of a claim's own words that a sentence must have to support it."""

_WORD = re.compile(r"\w+")
_NAME = re.compile(r"(?<!^)\b[A-Z]\w*|\w*[\d_]\w*|\w*[A-Z]\w*[A-Z]\w*")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nor|neither|cannot|without)\b|n['\u2019]t\b", re.IGNORECASE
)
_QUOTED = re.compile(r'["“]([^"“”]+)["”]')


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage.

    Args:
        hit: Position of its passage among the hits.
        start: First character in the passage's text.
        end: One past the last.
        stems: Stems of its words.
        negated: Whether it denies something.
    """

    hit: int
    start: int
    end: int
    stems: frozenset[str]
    negated: bool


def content_stems(text: str) -> frozenset[str]:
    """Return the stems of the words that carry meaning."""
    return frozenset(stems(text, content_only=True))


def sentences(hits: Sequence[Hit]) -> list[Sentence]:
    """Return what the passages of hits state, sentence by sentence.

    Headings and questions state nothing. Where passages overlap, a sentence is there once, and
    whole if one of them has it whole.
    """
    found = [
        Sentence(position, start, end, content_stems(text), _denies(text))
        for position, hit in enumerate(hits)
        for start, end in sentence_spans(hit.passage.text)
        if not (text := hit.passage.text[start:end]).startswith("#") and not text.endswith("?")
    ]

    def place(each: Sentence) -> tuple[str, int, int]:
        passage = hits[each.hit].passage
        return passage.document_id, passage.start + each.start, -passage.start - each.end

    whole: list[Sentence] = []
    last: tuple[str, int, int] = ("", 0, 0)
    for each in sorted(found, key=place):
        document, _, minus_end = place(each)
        # In this order, a sentence lies within an earlier one if it ends no later than all of them.
        if not (whole and document == last[0] and minus_end >= last[2]):
            whole.append(each)
            last = place(each)
    return sorted(whole, key=lambda each: (each.hit, each.start))


def best_support(
    claim: str, question: str, candidates: Iterable[Sentence], hits: Sequence[Hit]
) -> Sentence | None:
    """Return the sentence, or pair of neighbours, that supports a claim best.

    Args:
        claim: One sentence of an answer.
        question: The question; words that it has too say nothing about the answer.
        candidates: Sentences of the passages, in order.
        hits: The passages.

    Returns:
        The range, or None where nothing supports the claim.
    """
    quotes = _QUOTED.findall(claim)
    if not all(_occurs(quote, hits) for quote in quotes):
        return None
    asked = content_stems(question)
    # What is quoted is what is claimed; the words around it only announce it.
    claimed = content_stems(" ".join(quotes) or claim)
    own = claimed - asked or claimed or asked
    exact = content_stems(" ".join(_NAME.findall(claim))) - asked
    negated = _denies(claim)
    best, best_rank = None, (0.0, False, 0.0, 0)
    for span, single in _windows(list(candidates)):
        if span.negated != negated or not exact <= span.stems:
            continue
        share = len(own & span.stems) / max(1, len(own))
        # Of equal support: one sentence, one that speaks of the question, a short one.
        about = len(span.stems & asked) / max(1, len(asked))
        rank = (share, single, about, span.start - span.end)
        if share >= ENOUGH and (best is None or rank > best_rank):
            best, best_rank = span, rank
    return best


def _windows(candidates: Sequence[Sentence]) -> Iterator[tuple[Sentence, bool]]:
    """Yield every sentence, and every pair of neighbours; say whether it is one sentence."""
    yield from ((each, True) for each in candidates)
    for first, second in pairwise(candidates):
        if first.hit == second.hit:
            stems = first.stems | second.stems
            negated = first.negated or second.negated
            yield Sentence(first.hit, first.start, second.end, stems, negated), False


def _denies(text: str) -> bool:
    return _NEGATION.search(text) is not None


def _occurs(quote: str, hits: Sequence[Hit]) -> bool:
    wanted = _normal(quote)
    return any(wanted in _normal(hit.passage.text) for hit in hits)


def _normal(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))

"""Paragraphs of a few sentences, cut from what was found and ranked by TF-IDF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import hypot, log

from rag.core.documents import Passage
from rag.core.hits import Hit
from rag.pipelines.known_text import Stretch, stretches
from rag.text.sentences import sentence_spans
from rag.text.stems import stems

SENTENCES = 6
"""Sentences of a paragraph."""
_SMOOTHING = 1e-3
"""Cosine that is added to each, so that no paragraph is impossible."""


def best_paragraphs(question: str, hits: Sequence[Hit], count: int | None = None) -> list[Hit]:
    """Cut what was found into paragraphs and return those nearest the question, best first.

    A paragraph is a range of its document's text, verbatim; none spans text that was not found.
    The cosine is of TF-IDF vectors over the stems of words, function words left out. A stem weighs
    ln(1 + paragraphs / paragraphs that have it), which is above 0 for few paragraphs, too. Titles
    and headings count as text.

    Source: arXiv 2203.05115, section 2.

    Args:
        question: The question.
        hits: Passages; those of a document that overlap or touch are read as one.
        count: How many paragraphs to keep; None keeps all.

    Returns:
        Hits whose score is p(paragraph | question): the share of the cosine in the cosines of all
        that are kept. The cosine itself is in `scores` as 'tfidf'.
    """
    cut = list(_paragraphs(hits))
    cosines = _cosines(question, [each.indexed_text for each in cut])
    # Sorting is stable: of paragraphs with equal cosines, that of the better hit comes first.
    kept = sorted(zip(cosines, cut, strict=True), key=lambda pair: -pair[0])[:count]
    total = sum(cosine + _SMOOTHING for cosine, _ in kept)
    return [Hit(each, (cosine + _SMOOTHING) / total, {"tfidf": cosine}) for cosine, each in kept]


def _paragraphs(hits: Sequence[Hit]) -> Iterator[Passage]:
    """Yield the paragraphs of each document, the document of the best hit first."""
    documents: dict[tuple[str, str], list[Passage]] = {}
    for hit in hits:
        # Documents of two sources may have the same id.
        key = (hit.passage.document_id, hit.passage.uri)
        documents.setdefault(key, []).append(hit.passage)
    for passages in documents.values():
        for stretch in stretches(passages):
            for start, end in _ranges(stretch):
                # The heading is the one that the paragraph begins under.
                source = next(each for each in passages if each.start <= start < each.end)
                text = stretch.cut(start, end)
                name = f"{source.document_id}#{start}-{end}"
                yield replace(source, id=name, text=text, start=start, end=end)


def _ranges(stretch: Stretch) -> Iterator[tuple[int, int]]:
    """Yield where paragraphs lie in the document; the last one may have fewer sentences."""
    spans = sentence_spans(stretch.text)
    for first in range(0, len(spans), SENTENCES):
        *_, last = spans[first : first + SENTENCES]
        yield stretch.start + spans[first][0], stretch.start + last[1]


def _cosines(question: str, texts: Sequence[str]) -> list[float]:
    """Return the cosine of each text with the question; stems in no text do not count."""
    asked, *bags = (Counter(stems(text, content_only=True)) for text in (question, *texts))
    found = Counter(stem for bag in bags for stem in bag)
    weights = {stem: log(1 + len(texts) / count) for stem, count in found.items()}
    return [_cosine(_weighted(asked, weights), _weighted(bag, weights)) for bag in bags]


def _weighted(bag: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, float]:
    return {stem: count * weights[stem] for stem, count in bag.items() if stem in weights}


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    product = sum(value * other.get(stem, 0.0) for stem, value in one.items())
    lengths = hypot(*one.values()) * hypot(*other.values())
    return product / lengths if lengths else 0.0

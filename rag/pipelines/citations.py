"""Citations: which stored characters an answer rests on, checked sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.core.answers import Citation
from rag.core.hits import Hit
from rag.pipelines.support import Sentence, best_support, sentences
from rag.text.sentences import sentence_spans

_CITATION = re.compile(r" \[\d+\]")
_MARKERS_AFTER_STOP = re.compile(r"([.!?])((?:\s*\[[\d\s,;]+\])+)")
_MARKER = re.compile(r"\s*\[\s*(\d+(?:\s*[,;]\s*\d+)*)\s*\]")


@dataclass(frozen=True, slots=True)
class Cited:
    """A reply with its citations.

    Args:
        text: The sentences of the reply that have support, each with its number: [1], [2], …
        citations: What the numbers refer to.
        unsupported: The sentences that nothing supports.
        notes: What was dropped, one sentence each.
    """

    text: str
    citations: tuple[Citation, ...]
    unsupported: tuple[str, ...]
    notes: tuple[str, ...] = ()


def cite(reply: str, question: str, hits: Sequence[Hit], *, numbered: bool = True) -> Cited:
    """Find the support of each sentence of a reply and number it.

    A number that the model wrote narrows the search to that passage; one that is out of range or
    whose passage has no support is dropped, and the other passages are searched. So a citation
    always is a range of stored text that was found, never only what a model claimed.

    Args:
        reply: What the model wrote; `[n]` refers to the n-th hit.
        question: The question.
        hits: The passages that the model was shown, best first.
        numbered: Whether it was shown their numbers; if not, numbers in its reply mean nothing.
    """
    known = sentences(hits)
    numbers: dict[Sentence, int] = {}
    pieces: list[str] = []
    unsupported: list[str] = []
    dropped = 0
    for claim, marked in _claims(reply):
        named = {number - 1 for number in marked if numbered}
        support = best_support(claim, question, (s for s in known if s.hit in named), hits)
        if support is None:
            dropped += len(named)
            support = best_support(claim, question, known, hits)
        if support is None:
            unsupported.append(claim)
        else:
            number = numbers.setdefault(support, len(numbers) + 1)
            pieces.append(f"{claim} [{number}]")
    notes = (f"citations dropped for lack of support: {dropped}",) if dropped else ()
    citations = tuple(citation(number, span, hits) for span, number in numbers.items())
    return Cited(" ".join(pieces), citations, tuple(unsupported), notes)


def citation(number: int, span: Sentence, hits: Sequence[Hit]) -> Citation:
    """Return the citation of a range of a hit's passage."""
    passage = hits[span.hit].passage
    return Citation(
        number=number,
        passage_id=passage.id,
        document_id=passage.document_id,
        start=passage.start + span.start,
        end=passage.start + span.end,
        quote=passage.text[span.start : span.end],
        title=passage.label,
        uri=passage.uri,
        retrieved=str(passage.metadata.get("retrieved", "")),
    )


def without_citations(text: str) -> str:
    """Return an answer's text without the numbers of its citations."""
    return _CITATION.sub("", text)


def _claims(reply: str) -> list[tuple[str, set[int]]]:
    """Split a reply into sentences without their markers, each with the numbers it had."""
    claims: list[tuple[str, set[int]]] = []
    # A marker after the full stop belongs to the sentence before it.
    joined = _MARKERS_AFTER_STOP.sub(lambda match: f" {match[2].strip()}{match[1]} ", reply)
    for start, end in sentence_spans(joined):
        sentence = joined[start:end]
        numbers = {int(n) for group in _MARKER.findall(sentence) for n in re.findall(r"\d+", group)}
        claim = _MARKER.sub("", sentence).strip()
        # What only announces something claims nothing, and small models repeat themselves.
        if claim.endswith(":") or claim in (known for known, _ in claims):
            continue
        if any(character.isalnum() for character in claim):
            claims.append((claim, numbers))
        elif claims:
            claims[-1][1].update(numbers)
    return claims

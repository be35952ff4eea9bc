"""Answers of a few words, as the model wrote them, with what they rest on."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from rag.core.answers import Answer, Step
from rag.core.errors import Unsupported
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.operations import Generate
from rag.pipelines.citations import cite, without_citations

NOT_STATED = "no passage states the answer in words"
# A bare one, or one with what Markdown puts around it. What begins with // leads somewhere, too.
_ADDRESS = r"(?:[a-z][a-z0-9+.-]*:)?//[^\s)>\]\"']+"
_URL = re.compile(
    rf"!?\[(?P<label>[^\]]*)\]\(\s*<?(?P<linked>{_ADDRESS})[^)\n]*\)|(?P<bare>{_ADDRESS})",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(r"^\s*answer\s*:", re.IGNORECASE)


async def generate_surely(prompt: Prompt, sampling: Sampling, stage: str) -> Reply:
    """Generate, with log-probabilities where the backend reports them for such a call.

    A backend refuses what it cannot do before it spends a token.
    """
    try:
        return await Generate(prompt, replace(sampling, logprobs=0), stage=stage)
    except Unsupported:
        return await Generate(prompt, sampling, stage=stage)


def confidence(reply: Reply, after: str = "") -> float | None:
    """Return the geometric mean of the probabilities of a reply's tokens.

    Args:
        reply: The reply.
        after: A beginning that does not count.

    Returns:
        0 to 1; None where the backend reported none, or nothing was written.
    """
    written, counted = "", []
    for each in reply.logprobs:
        if len(written) >= len(after):
            counted.append(each.logprob)
        written += each.token
    return math.exp(sum(counted) / len(counted)) if counted else None


def short_answer(
    question: str,
    text: str,
    hits: Sequence[Hit],
    *,
    notes: Sequence[str] = (),
    steps: Sequence[Step] = (),
    confidence: float | None = None,
) -> Answer:
    """Return an answer whose text is the model's own, with citations where passages state it.

    URLs that no passage has are left out: a page may have talked the model into writing what it
    read elsewhere into one, which a reader's program would ask for when it shows the answer.

    Other than a sentence, an answer of a few words stays when nothing supports it: 'yes' stands in
    no passage. Then it is not `supported`, and its notes say so.

    Args:
        question: The question.
        text: What the model wrote.
        hits: The passages that it read, best first.
        notes: What fell short on the way.
        steps: The sub-questions that led to it.
        confidence: How likely the model found it.
    """
    # Numbers that the model wrote refer to nothing: passages have none.
    written, urls = _without_foreign_urls(_ANNOUNCED.sub("", text), hits)
    written = without_citations(written).strip()
    if urls:
        notes = (*notes, f"URLs left out of the answer, since no passage has them: {urls}")
    cited = cite(written, question, hits, numbered=False)
    numbers = "".join(f" [{each.number}]" for each in cited.citations)
    reasons = (*notes,) if cited.citations else (*notes, NOT_STATED)
    if not written:
        reasons = (*notes, "the model wrote no answer")
    return Answer(
        written + numbers,
        cited.citations,
        supported=bool(cited.citations),
        hits=tuple(hits),
        notes=reasons,
        steps=tuple(steps),
        confidence=confidence,
    )


def _without_foreign_urls(text: str, hits: Sequence[Hit]) -> tuple[str, int]:
    """Return a text without the URLs that no passage has, and how many those were."""
    shown = [part for hit in hits for part in (hit.passage.indexed_text, hit.passage.uri)]
    left_out = 0

    def kept(match: re.Match[str]) -> str:
        nonlocal left_out
        if any((match["linked"] or match["bare"]) in part for part in shown):
            return match[0]
        left_out += 1
        return match["label"] or ""

    return _URL.sub(kept, text), left_out

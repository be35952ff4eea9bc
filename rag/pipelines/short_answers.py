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
    written = without_citations(_ANNOUNCED.sub("", text)).strip()
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

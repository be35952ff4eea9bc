"""Answers and the passages they rest on."""

from __future__ import annotations

from dataclasses import dataclass

from rag.core.hits import Hit
from rag.core.sensitivity import Sensitivity
from rag.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Citation:
    """A character range of a stored document that supports an answer.

    Args:
        number: The number that the answer's text refers to as [1], [2], …
        passage_id: The passage that was shown to the model.
        document_id: Its document.
        start: First character of the quote in the document's text.
        end: One past its last character.
        quote: The characters themselves.
        title: The document's title.
        uri: Where the document came from.
        retrieved: When it was fetched, where it is a page of the web.
    """

    number: int
    passage_id: str
    document_id: str
    start: int
    end: int
    quote: str
    title: str = ""
    uri: str = ""
    retrieved: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A sub-question of an answer, and what came of it.

    Args:
        question: The sub-question, or whatever text was searched for.
        answer: Its own answer; '' where there is none.
        hits: What was found for it, best first.
    """

    question: str
    answer: str = ""
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, what it rests on and what it used.

    Args:
        text: The answer.
        citations: The ranges of stored text that support it.
        supported: Whether stored text supports it; an unsupported answer says so in `notes`.
        hits: The passages that were shown to the model, best first.
        usage: What the question used.
        stages: The same by stage of the pipeline, in order of first use.
        notes: Whatever fell short on the way: left-out passages, cut replies, dropped
            citations, an exhausted budget. One sentence each.
        steps: The sub-questions that led to the answer, in order.
        confidence: How likely the model found its own answer, 0 to 1: the geometric mean of its
            tokens' probabilities; None where the backend does not say. Not a probability that the
            answer is right.
        sensitivity: Who may learn of the answer: the tags of every passage that the program had
            found when it ended. The engine states it; None for an answer of no engine.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    supported: bool = True
    hits: tuple[Hit, ...] = ()
    usage: Usage = Usage()
    stages: tuple[tuple[str, Usage], ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    confidence: float | None = None
    sensitivity: Sensitivity | None = None

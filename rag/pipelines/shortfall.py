"""What a budget or a window kept from an answer."""

from __future__ import annotations

from rag.core.answers import Answer
from rag.pipelines.drag import NO_ROOM
from rag.pipelines.extractive import UNREAD


def shortfall(answer: Answer) -> str:
    """Say what was left out of an answer for lack of room; '' if nothing.

    Of an answer that lacks something, what its pipeline's allocation promises does not hold.
    """
    return "; ".join(note for note in answer.notes if NO_ROOM in note or UNREAD in note)

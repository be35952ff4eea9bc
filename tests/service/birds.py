"""A small collection, and what is asked of it."""

from rag.core.documents import Document
from tests.service.running import RunningService

QUESTION = "What does the grey heron eat?"
REPLY = "The grey heron eats fish and frogs."

BIRDS = [
    Document(
        "heron.md",
        "The grey heron eats fish and frogs. It stands still in shallow water for hours.",
        title="Heron",
        metadata={"legs": 2, "order": "wader"},
    ),
    Document(
        "kite.md",
        "The red kite steals paper and rags for its nest.",
        title="Kite",
        metadata={"legs": 2, "order": "raptor"},
    ),
    Document(
        "owl.md",
        "The barn owl hears a mouse below the snow and flies without a sound.",
        title="Owl",
        metadata={"legs": 2, "order": "owl"},
    ),
]


def add_birds(running: RunningService, name: str = "birds") -> None:
    """Make a collection of birds."""
    running.service.library.create(name).collection.add(BIRDS)

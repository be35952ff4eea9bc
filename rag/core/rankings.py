"""What a reranker returns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from rag.core.hits import Hit
from rag.core.usage import Usage

WindowStatus = Literal["ok", "repaired", "unreadable", "failed", "skipped"]
"""What came of asking a model about a window:

- ok: its order, as it stands;
- repaired: its order, of which something had to be passed over or added;
- unreadable: it stated no order, and the passages stay as they were;
- failed: the call failed, and the passages stay as they were;
- skipped: the budget allowed no call, and the passages stay as they were.
"""


@dataclass(frozen=True, slots=True)
class WindowReport:
    """What came of asking a model about some of the passages.

    Args:
        size: Passages that it was shown.
        status: What came of it.
        duplicates: Identifiers that it named again.
        unknown: Identifiers that it named and no passage has.
        omitted: Passages that it was to name and did not; they follow the others, in the order in
            which they came.
        reason: Why there is no order of its own; '' where there is one.
    """

    size: int
    status: WindowStatus = "ok"
    duplicates: int = 0
    unknown: int = 0
    omitted: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The hits of a question in a new order.

    Args:
        hits: The best `top_k` of them, best first. `score` is the reranker's; `scores` and `ranks`
            also keep where the hit was before, as 'retrieved'.
        windows: What came of each call, in the order in which they were begun.
        complete: Whether the order is the method's own; False if a budget ended it early.
        notes: Whatever fell short on the way, one sentence each.
        usage: What the question used.
        stages: The same by stage.
    """

    hits: tuple[Hit, ...]
    windows: tuple[WindowReport, ...] = ()
    complete: bool = True
    notes: tuple[str, ...] = ()
    usage: Usage = Usage()
    stages: tuple[tuple[str, Usage], ...] = ()

    @property
    def statuses(self) -> dict[WindowStatus, int]:
        """How many windows came to what."""
        return dict(Counter(window.status for window in self.windows))

    @property
    def shortfalls(self) -> list[str]:
        """Whatever fell short, windows included, one sentence each."""
        count = len(self.windows)
        others = {status: number for status, number in self.statuses.items() if status != "ok"}
        return [*self.notes, *(f"windows {each}: {others[each]} of {count}" for each in others)]

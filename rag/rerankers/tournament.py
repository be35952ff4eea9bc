"""A tournament: every answer counts for all that follows from it."""

from __future__ import annotations

from rag.core.errors import InputError
from rag.rerankers.listwise import ListwiseReranker
from rag.rerankers.preferences import Preferences
from rag.rerankers.windows import WindowRanker, Windows


class Tournament(ListwiseReranker):
    """Asks about the passages whose place is least settled, until the first `top_k` are.

    The order of a window says which of its passages come before which, and with the orders of
    other windows it says so of passages that never met. First all passages meet in windows that
    run side by side; then, one window at a time, those with the fewest passages before them.
    It ends when the first `top_k` cannot change any more unless the model contradicts itself;
    where it does, passages tie and stay as they came. The others follow in an order that agrees
    with all answers.

    Source: BlitzRank (arXiv 2602.05448). It goes on until the places of the first `top_k` among all
    passages are known; here their places among those that may still be first are enough, which is
    never later.

    Args:
        ranker: Puts a window in order: `FirstTokenRanker` or `PermutationRanker`.
        window: Passages that are put in order at once, at least 2.
        passage_tokens: Tokens of a passage that the model reads at most.

    Raises:
        InputError: A value is out of its range.
    """

    strategy = "tournament"

    def __init__(
        self, ranker: WindowRanker, *, window: int = 20, passage_tokens: int = 300
    ) -> None:
        super().__init__(ranker, passage_tokens=passage_tokens)
        if window < 2:
            raise InputError(f"window is {window}; it must be at least 2")
        self.window = window

    async def sort(self, windows: Windows, order: list[int], top: int) -> None:
        """Ask until the first `top` are settled."""
        known = Preferences(len(order))
        first = [order[start : start + self.window] for start in range(0, len(order), self.window)]
        for answer in await windows.orders(first):
            known.add(answer)
        while windows.exhausted is None and (chosen := self._next(known, top)):
            answer = await windows.order(chosen)
            if windows.exhausted is None:
                known.add(answer)
        order[:] = known.ranking()

    def _next(self, known: Preferences, top: int) -> list[int]:
        """Return the passages to ask about next, at least two of them not compared; or none."""
        candidates = known.open(top)
        if not candidates:
            return []
        chosen = candidates[: self.window]
        if all(known.compared(one, other) for one in chosen for other in chosen):
            strangers = [each for each in candidates if not known.compared(chosen[0], each)]
            chosen = [chosen[0], *strangers][: self.window]
        return sorted(chosen)

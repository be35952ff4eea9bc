"""What rerankers have in common that put windows of passages in order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from rag.core.errors import InputError
from rag.core.hits import Hit
from rag.core.rankings import Ranking
from rag.rerankers.base import Reranker, limit, reordered
from rag.rerankers.calibration import calibrated
from rag.rerankers.shortening import shortened
from rag.rerankers.windows import WindowRanker, Windows


class ListwiseReranker(Reranker):
    """Has windows of passages put in order; subclasses say which windows.

    Passages are shortened to `passage_tokens` for the model, and whole in the result.

    Args:
        ranker: Puts a window in order: `FirstTokenRanker` or `PermutationRanker`.
        passage_tokens: Tokens of a passage that the model reads at most.

    Raises:
        InputError: `passage_tokens` is less than 1.
    """

    strategy: str

    def __init__(self, ranker: WindowRanker, *, passage_tokens: int = 300) -> None:
        if passage_tokens < 1:
            raise InputError(f"passage_tokens is {passage_tokens}; it must be at least 1")
        self.ranker = ranker
        self.passage_tokens = passage_tokens
        self.name = f"{self.strategy}-{ranker.name}"

    async def program(self, query: str, hits: Sequence[Hit], top_k: int | None = None) -> Ranking:
        """Shorten, ask, account; see `Reranker.program`."""
        wanted = limit(len(hits), top_k)
        shown, cut = await shortened(hits, self.passage_tokens, self.ranker.llm)
        windows = Windows(self.ranker, query, shown)
        order = list(range(len(hits)))
        if len(order) > 1:
            await self.sort(windows, order, wanted)
        windows.check()
        scores = calibrated(order, windows.observations())
        notes = []
        if cut:
            notes.append(f"passages shortened to {self.passage_tokens} tokens: {cut}")
        if windows.exhausted:
            notes.append(f"the order is not the method's own: {windows.exhausted}")
        return Ranking(
            reordered(self.name, hits, order[:wanted], scores[:wanted]),
            windows.reports,
            complete=windows.exhausted is None,
            notes=tuple(notes),
        )

    @abstractmethod
    async def sort(self, windows: Windows, order: list[int], top: int) -> None:
        """Put the places of at least two hits in order.

        Args:
            windows: Asks the model about some of them.
            order: The places, best first; changed in place.
            top: How many of them are wanted.
        """

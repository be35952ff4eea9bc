"""Sliding windows, from the bottom of the list to its top."""

from __future__ import annotations

from collections.abc import Iterator

from rag.core.errors import InputError
from rag.rerankers.listwise import ListwiseReranker
from rag.rerankers.windows import WindowRanker, Windows


class SlidingWindow(ListwiseReranker):
    """Orders windows from the bottom up, so that each carries its best to the next (RankGPT).

    Each window shares `window - stride` passages with the next one, so one pass settles that many
    of the top: if the model's comparisons do not contradict each other, its best passages are
    among the first of every window that they come into. Source: arXiv 2304.09542

    Args:
        ranker: Puts a window in order: `FirstTokenRanker` or `PermutationRanker`.
        window: Passages that are put in order at once, at least 2.
        stride: Passages by which the window moves up, at least 1 and less than `window`; half of it
            by default.
        passes: Times to go over the list, at most. A pass that changes nothing is the last one,
            since none after it could.
        freeze: Whether each pass leaves alone what those before it settled, and so settles the
            next `window - stride` passages (arXiv 2412.14574, where it makes training
            lists). Without it a pass goes over the whole list again.
        passage_tokens: Tokens of a passage that the model reads at most.

    Raises:
        InputError: A value is out of its range.
    """

    strategy = "sliding"

    def __init__(
        self,
        ranker: WindowRanker,
        *,
        window: int = 20,
        stride: int | None = None,
        passes: int = 1,
        freeze: bool = False,
        passage_tokens: int = 300,
    ) -> None:
        super().__init__(ranker, passage_tokens=passage_tokens)
        if window < 2:
            raise InputError(f"window is {window}; it must be at least 2")
        stride = window // 2 if stride is None else stride
        if not 1 <= stride < window:
            raise InputError(f"stride is {stride}; it must be from 1 to {window - 1}")
        if passes < 1:
            raise InputError(f"passes is {passes}; it must be at least 1")
        self.window = window
        self.stride = stride
        self.passes = passes
        self.freeze = freeze

    async def sort(self, windows: Windows, order: list[int], top: int) -> None:
        """Go over the list, from the bottom up."""
        settled = 0
        for _ in range(self.passes):
            before = list(order)
            for chosen in _windows(len(order), settled, self.window, self.stride):
                order[chosen] = await windows.order(order[chosen])
            if self.freeze:
                settled += self.window - self.stride
            elif order == before:
                return
            if settled >= min(top, len(order)):
                return


def _windows(count: int, first: int, window: int, stride: int) -> Iterator[slice]:
    """Yield the windows from the bottom up, the last one from `first` on.

    Each shares `window - stride` places with the one before, the last one too, which may be
    smaller.
    """
    end = count
    while (start := max(first, end - window)) > first:
        yield slice(start, end)
        end -= stride
    yield slice(start, end)


class FullRanking(ListwiseReranker):
    """Puts all passages in order in one call, for models with a long window (arXiv 2412.14574).

    No passage is read twice, and with a `PermutationRanker` only as many are named as `top_k` asks
    for. Models that were not trained for it do it worse than windows.

    Args:
        ranker: Puts the passages in order. A `FirstTokenRanker` needs an identifier of one token
            for each of them, beyond 26 those of two letters.
        passage_tokens: Tokens of a passage that the model reads at most.
    """

    strategy = "full"

    async def sort(self, windows: Windows, order: list[int], top: int) -> None:
        """Ask once."""
        order[:] = await windows.order(order, top)

"""Setwise ranking: the most relevant of a few passages, over and over."""

from __future__ import annotations

from rag.core.errors import InputError
from rag.core.operations import together
from rag.rerankers.listwise import ListwiseReranker
from rag.rerankers.windows import WindowRanker, Windows


class Setwise(ListwiseReranker):
    """Sorts a heap of passages; each step asks which of `children + 1` is the most relevant.

    With a `FirstTokenRanker` that is one forward pass. The heap is built level by level, whose
    nodes are asked about side by side; then the `top_k` best are taken out one after the other. The
    other passages follow as they came. Source: arXiv 2310.09497 (heapsort).

    Args:
        ranker: Finds the most relevant passage of a window.
        children: Passages that a passage is compared with at once, at least 1.
        passage_tokens: Tokens of a passage that the model reads at most.

    Raises:
        InputError: A value is out of its range.
    """

    strategy = "setwise"

    def __init__(
        self, ranker: WindowRanker, *, children: int = 3, passage_tokens: int = 300
    ) -> None:
        super().__init__(ranker, passage_tokens=passage_tokens)
        if children < 1:
            raise InputError(f"children is {children}; it must be at least 1")
        self.children = children

    async def sort(self, windows: Windows, order: list[int], top: int) -> None:
        """Build the heap and take out its first `top`."""
        heap = list(order)
        for level in reversed(self._levels(len(heap))):
            await together(*(self._sink(windows, heap, node) for node in level))
        best: list[int] = []
        while len(best) < top and windows.exhausted is None:
            best.append(heap[0])
            last = heap.pop()
            if heap:
                heap[0] = last
                await self._sink(windows, heap, 0)
        # What the heap knows of the others counts only where the work ended early.
        order[:] = [*best, *(heap if windows.exhausted else sorted(heap))]

    def _levels(self, count: int) -> list[range]:
        """Return the nodes of each level, from the root down."""
        levels, start, size = [], 0, 1
        while start < count:
            levels.append(range(start, min(start + size, count)))
            start, size = start + size, size * self.children
        return levels

    async def _sink(self, windows: Windows, heap: list[int], node: int) -> None:
        """Move a passage down until it is at least as relevant as those under it."""
        while below := range(
            node * self.children + 1, min((node + 1) * self.children + 1, len(heap))
        ):
            # As they came, so that a window that stays as it is says that the first was the best.
            compared = sorted([heap[node], *(heap[child] for child in below)])
            (best, *_) = await windows.order(compared, top=1)
            if best == heap[node]:
                return
            child = heap.index(best, below.start, below.stop)
            heap[node], heap[child] = heap[child], heap[node]
            node = child

"""TourRank: groups, of which the best go on, and points for each who does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from random import Random

from rag.core.errors import InputError
from rag.core.operations import together
from rag.rerankers.listwise import ListwiseReranker
from rag.rerankers.windows import WindowRanker, Windows

# Passages of a group, and how many of them go on: 100 become 50, 20, 10, 5 and 2 (arXiv 2406.11678,
# table 1).
_STAGES = ((20, 10), (10, 4), (20, 10), (10, 5))
_LAST_STAGE = (5, 2)


class TourRank(ListwiseReranker):
    """Lets passages meet in groups; those that go on to the next stage get a point.

    The groups of a stage, and whole tournaments, run side by side. Passages with equal points stay
    as they came. Source: arXiv 2406.11678. The stages are those given there for 100 passages, with
    as many groups as there are passages for; the last one is repeated until two remain.

    Args:
        ranker: Finds the best passages of a group.
        tournaments: Times that all of it is done; beyond the first, groups are shuffled.
        seed: Makes the shuffles repeatable.
        passage_tokens: Tokens of a passage that the model reads at most.

    Raises:
        InputError: A value is out of its range.
    """

    strategy = "tour-rank"

    def __init__(
        self,
        ranker: WindowRanker,
        *,
        tournaments: int = 1,
        seed: int = 0,
        passage_tokens: int = 300,
    ) -> None:
        super().__init__(ranker, passage_tokens=passage_tokens)
        if tournaments < 1:
            raise InputError(f"tournaments is {tournaments}; it must be at least 1")
        self.tournaments = tournaments
        self.seed = seed

    async def sort(self, windows: Windows, order: list[int], top: int) -> None:
        """Hold the tournaments and add up the points."""
        points = dict.fromkeys(order, 0)
        shuffles = [None, *(Random(self.seed + number) for number in range(1, self.tournaments))]  # noqa: S311 # no secret
        await together(*(_tournament(windows, list(order), points, each) for each in shuffles))
        order.sort(key=lambda place: (-points[place], place))


async def _tournament(
    windows: Windows, remaining: list[int], points: dict[int, int], shuffle: Random | None
) -> None:
    for size, kept in chain(_STAGES, repeat(_LAST_STAGE)):
        if len(remaining) <= _LAST_STAGE[1]:
            return
        if len(remaining) <= kept:
            continue
        groups = _groups(remaining, size)
        if shuffle:
            for group in groups:
                shuffle.shuffle(group)
        shares = [max(1, round(len(group) * kept / size)) for group in groups]
        ranked = await together(
            *(windows.order(group, top=share) for group, share in zip(groups, shares, strict=True))
        )
        if windows.exhausted:
            return
        remaining = sorted(
            place for order, share in zip(ranked, shares, strict=True) for place in order[:share]
        )
        for place in remaining:
            points[place] += 1


def _groups(places: Sequence[int], size: int) -> list[list[int]]:
    """Deal places out to as few groups as hold them, so that each has some from everywhere."""
    count = -(-len(places) // size)
    return [list(places[first::count]) for first in range(count)]

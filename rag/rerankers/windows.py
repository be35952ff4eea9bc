"""Windows: some of a question's passages at a time, put in order by a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rag.core.errors import BudgetExhausted, CallFailed
from rag.core.hits import Hit
from rag.core.operations import Program, together
from rag.core.protocols import LLM
from rag.core.rankings import WindowReport


@dataclass(frozen=True, slots=True)
class WindowOrder:
    """The order of the passages of a window.

    Args:
        order: Their places in the window, from 0, best first; each is there once.
        report: What came of asking.
        logprobs: How likely the model found each place to be the best; empty where it was not
            asked so. The probability is over the whole vocabulary.
    """

    order: tuple[int, ...]
    report: WindowReport
    logprobs: tuple[float, ...] = ()


class WindowRanker(ABC):
    """Has a language model put the passages of one window in order.

    Args:
        llm: The model.

    Attributes:
        name: What the way of asking is called in the scores of hits.
    """

    name: str

    def __init__(self, llm: LLM) -> None:
        self.llm = llm

    @abstractmethod
    def rank(self, query: str, hits: Sequence[Hit], top: int) -> Program[WindowOrder]:
        """Return the program that puts the hits of a window in order.

        Args:
            query: What was looked for.
            hits: The hits of the window, best so far first; at least two.
            top: How many of them the order matters for; the others may follow as they came.
        """


class Windows:
    """The windows of one question; asks for their orders and keeps account of it.

    No window is asked for twice: with a deterministic model, the same passages in the same order
    get the same answer. After a budget is exhausted nothing is asked any more, and every window
    stays as it is.

    Args:
        ranker: Asks the model.
        query: What was looked for.
        hits: All hits of the question.

    Attributes:
        exhausted: The budget that ended it, if one did.
    """

    def __init__(self, ranker: WindowRanker, query: str, hits: Sequence[Hit]) -> None:
        self.ranker = ranker
        self.query = query
        self.hits = hits
        self.exhausted: BudgetExhausted | None = None
        self._failure: CallFailed | None = None
        self._answers: dict[tuple[tuple[int, ...], int], WindowOrder | None] = {}

    async def order(self, places: Sequence[int], top: int | None = None) -> list[int]:
        """Return the places of a window, best first.

        Args:
            places: Places of hits, best so far first.
            top: How many of them the order matters for; all unless given.
        """
        if len(places) < 2:
            return list(places)
        wanted = len(places) if top is None else min(top, len(places))
        key = (tuple(places), wanted)
        answer = self._answers.get(key)
        if answer is None:
            self._answers[key] = None  # keeps the order in which windows are begun
            answer = self._answers[key] = await self._ask(places, wanted)
        return [places[each] for each in answer.order]

    async def orders(
        self, windows: Iterable[Sequence[int]], top: int | None = None
    ) -> list[list[int]]:
        """Return the orders of several windows, which are asked for side by side."""
        return list(await together(*(self.order(window, top) for window in windows)))

    @property
    def reports(self) -> tuple[WindowReport, ...]:
        """What came of each window, in the order in which they were begun."""
        return tuple(answer.report for answer in self._answers.values() if answer)

    def observations(self) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        """Return the windows whose passages got log-probabilities, and those."""
        return [
            (places, answer.logprobs)
            for (places, _), answer in self._answers.items()
            if answer and answer.logprobs
        ]

    def check(self) -> None:
        """Raise the first failure if no window got an order."""
        statuses = {report.status for report in self.reports}
        if self._failure and not statuses & {"ok", "repaired", "unreadable"}:
            raise self._failure

    async def _ask(self, places: Sequence[int], top: int) -> WindowOrder:
        if self.exhausted is None:
            try:
                return await self.ranker.rank(
                    self.query, [self.hits[place] for place in places], top
                )
            except BudgetExhausted as error:
                self.exhausted = error
            except CallFailed as error:
                self._failure = self._failure or error
                return _kept(WindowReport(len(places), "failed", reason=str(error)))
        return _kept(WindowReport(len(places), "skipped", reason=str(self.exhausted)))


def _kept(report: WindowReport) -> WindowOrder:
    return WindowOrder(tuple(range(report.size)), report)

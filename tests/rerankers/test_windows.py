from collections.abc import Sequence
from dataclasses import replace

import pytest

from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import CallFailed, ContextOverflow
from rag.core.generation import NextTokenScores, Prompt
from rag.core.hits import Hit
from rag.core.rankings import WindowReport
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.sliding import SlidingWindow
from rag.rerankers.windows import WindowOrder, WindowRanker, Windows
from tests.rerankers.oracle import KeyRanker, OracleLLM, hits_worth, worths_of


class FailingLLM(OracleLLM):
    """Fails at every call that shows a certain passage."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        if any(self.at in context for prompt in prompts for context in prompt.contexts):
            raise CallFailed(self.name, "the server is on fire", status=500, attempts=4)
        return super().next_token(prompts, tokens)


def test_a_failed_window_stays_as_it_came_and_says_why() -> None:
    reranker = SlidingWindow(FirstTokenRanker(FailingLLM("worth 25")), window=10, stride=5)
    ranking = reranker.rerank("q", hits_worth(range(30)))
    assert ranking.statuses == {"failed": 1, "ok": 4}
    assert "on fire" in ranking.windows[0].reason
    assert ranking.complete, "no budget ended it; the windows say what failed"
    assert worths_of(ranking)[:5] == [24, 23, 22, 21, 20]


def test_nothing_but_failures_is_an_error() -> None:
    reranker = SlidingWindow(FirstTokenRanker(FailingLLM("worth")), window=10, stride=5)
    with pytest.raises(CallFailed, match="on fire"):
        reranker.rerank("q", hits_worth(range(30)))


def test_a_prompt_that_cannot_fit_is_an_error() -> None:
    llm = OracleLLM(context_window=50)
    with pytest.raises(ContextOverflow, match="fewer or shorter"):
        SlidingWindow(FirstTokenRanker(llm)).rerank("q", hits_worth(range(30)))


def test_failures_and_budgets_show_together() -> None:
    reranker = SlidingWindow(FirstTokenRanker(FailingLLM("worth 25")), window=10, stride=5)
    ranking = reranker.rerank("q", hits_worth(range(30)), budget=Budget(calls=3))
    assert ranking.statuses == {"failed": 1, "ok": 2, "skipped": 2}
    assert not ranking.complete


def test_no_window_is_asked_for_twice() -> None:
    ranker = KeyRanker()
    windows = Windows(ranker, "q", hits_worth(range(4)))
    for _ in range(2):
        assert Engine().run(windows.order([0, 1, 2])) == [2, 1, 0]
    assert Engine().run(windows.order([2, 1, 0])) == [2, 1, 0]
    assert len(ranker.asked) == len(windows.reports) == 2


def test_a_passage_alone_is_in_order() -> None:
    ranker = KeyRanker()
    assert Engine().run(Windows(ranker, "q", hits_worth([1.0])).order([0])) == [0]
    assert ranker.asked == []


def test_reports_come_in_the_order_in_which_windows_began() -> None:
    class Counting(WindowRanker):
        name = "counting"

        async def rank(self, query: str, hits: Sequence[Hit], top: int) -> WindowOrder:
            report = WindowReport(len(hits), reason=hits[0].passage.id)
            return WindowOrder(tuple(range(len(hits))), report)

    windows = Windows(Counting(OracleLLM()), "q", hits_worth(range(9)))
    Engine().run(windows.orders([[5, 1], [0, 2, 3], [7, 8]]))
    assert [report.reason for report in windows.reports] == ["p5", "p0", "p7"]


def test_equal_passages_are_told_apart_by_their_place() -> None:
    same = hits_worth([2, 2, 5])
    same[1] = replace(same[0], score=0.9)
    ranking = SlidingWindow(FirstTokenRanker(OracleLLM())).rerank("q", same)
    assert [hit.scores["retrieved"] for hit in ranking.hits] == [same[2].score, 1.0, 0.9]

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import InputError
from rag.core.hits import Hit
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.tournament import Tournament
from tests.rerankers.oracle import KeyRanker, OracleLLM, hits_worth, worths_of


@given(st.permutations(range(23)), st.integers(2, 9), st.integers(1, 23))
def test_the_top_of_a_consistent_model_is_found(worths: list[int], window: int, top_k: int) -> None:
    ranking = Tournament(KeyRanker(), window=window).rerank("q", hits_worth(worths), top_k)
    assert worths_of(ranking) == sorted(worths, reverse=True)[:top_k]
    assert ranking.complete


def test_twenty_five_horses_take_seven_races() -> None:
    """The riddle: the three fastest of 25, five at a time, in the worst case."""
    worst = 0
    for seed in range(50):
        ranker = KeyRanker()
        horses = Random(seed).sample(range(25), 25)
        Tournament(ranker, window=5).rerank("q", hits_worth(horses), 3)
        worst = max(worst, len(ranker.asked))
    assert worst == 7


def test_top_ten_of_a_hundred_take_fewer_windows_than_sliding() -> None:
    """Six or seven calls of 20 (BlitzRank, table 3); sliding windows take nine."""
    calls = []
    for seed in range(30):
        ranker = KeyRanker()
        worths = Random(seed).sample(range(100), 100)
        Tournament(ranker, window=20).rerank("q", hits_worth(worths), 10)
        calls.append(len(ranker.asked))
    assert max(calls) <= 8
    assert sum(calls) / len(calls) < 7.5


def test_the_first_windows_run_side_by_side() -> None:
    llm = OracleLLM()
    reranker = Tournament(FirstTokenRanker(llm), window=5)
    reranker.rerank("q", hits_worth(range(25)), 3)
    batches = [prompts for capability, prompts in llm.calls if capability == "next_token"]
    assert len(batches[0]) == 5
    assert all(len(batch) == 1 for batch in batches[1:])


def test_no_two_passages_that_are_known_meet_alone() -> None:
    ranker = KeyRanker()
    Tournament(ranker, window=4).rerank("q", hits_worth(Random(3).sample(range(40), 40)), 6)
    assert len({frozenset(window) for window in ranker.asked}) == len(ranker.asked)


@given(st.randoms(use_true_random=False), st.integers(2, 6))
def test_a_model_that_contradicts_itself_comes_to_an_end(random: Random, window: int) -> None:
    def whim(hit: Hit) -> float:
        return random.random()

    ranking = Tournament(KeyRanker(whim), window=window).rerank("q", hits_worth(range(17)), 5)
    assert ranking.complete
    assert len({hit.passage.id for hit in ranking.hits}) == 5


def test_what_was_asked_before_the_budget_ended_counts() -> None:
    hits = hits_worth(range(20))
    reranker = Tournament(FirstTokenRanker(OracleLLM()), window=5)
    ranking = reranker.rerank("q", hits, budget=Budget(calls=2))
    assert ranking.statuses == {"ok": 2, "skipped": 2}
    assert worths_of(ranking)[:10] == [4, 3, 2, 1, 0, 9, 8, 7, 6, 5]
    assert worths_of(ranking)[10:] == list(range(10, 20)), "those not asked about stay in place"


def test_many_questions_share_batches() -> None:
    llm = OracleLLM()
    reranker = Tournament(FirstTokenRanker(llm), window=5)
    Engine().run_many([reranker.program("q", hits_worth(range(10)), 3) for _ in range(4)])
    sizes = [len(prompts) for capability, prompts in llm.calls if capability == "next_token"]
    assert sizes[0] == 8


@pytest.mark.parametrize("window", [1, 0, -3])
def test_windows_hold_at_least_two(window: int) -> None:
    with pytest.raises(InputError, match="window is"):
        Tournament(KeyRanker(), window=window)

from random import Random

import pytest

from rag.core.errors import InputError
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.tour_rank import TourRank
from tests.rerankers.oracle import KeyRanker, OracleLLM, hits_worth, worths_of


def test_thirteen_calls_for_a_hundred() -> None:
    """100 to 50, 20, 10, 5 and 2 (arXiv 2406.11678)."""
    ranker = KeyRanker()
    worths = Random(0).sample(range(100), 100)
    ranking = TourRank(ranker).rerank("q", hits_worth(worths))
    assert [(len(window), top) for window, top in zip(ranker.asked, ranker.tops, strict=True)] == [
        *[(20, 10)] * 5,
        *[(10, 4)] * 5,
        (20, 10),
        (10, 5),
        (5, 2),
    ]
    best = worths_of(ranking)
    assert {*best[:2]} == {99, 98}
    assert {*best[:5]} == {99, 98, 97, 96, 95}


def test_groups_have_some_from_everywhere() -> None:
    ranker = KeyRanker()
    TourRank(ranker).rerank("q", hits_worth(range(100)))
    assert ranker.asked[0] == [f"p{place}" for place in range(0, 100, 5)]


@pytest.mark.parametrize("count", [2, 3, 5, 11, 19, 37, 64, 250])
def test_any_number_of_passages(count: int) -> None:
    worths = Random(1).sample(range(count), count)
    ranking = TourRank(KeyRanker()).rerank("q", hits_worth(worths))
    assert sorted(worths_of(ranking)) == list(range(count))
    assert count - 1 in worths_of(ranking)[:2]


def test_further_tournaments_are_shuffled_and_repeatable() -> None:
    ranker = KeyRanker()
    hits = hits_worth(range(60))
    first = TourRank(ranker, tournaments=3, seed=7).rerank("q", hits)
    asked, ranker.asked = ranker.asked, []
    assert TourRank(ranker, tournaments=3, seed=7).rerank("q", hits).hits == first.hits
    assert ranker.asked == asked
    assert len({frozenset(window) for window in asked}) < len({tuple(window) for window in asked})
    assert TourRank(ranker, tournaments=3, seed=8).rerank("q", hits).hits


def test_the_groups_of_a_stage_and_all_tournaments_run_side_by_side() -> None:
    llm = OracleLLM()
    TourRank(FirstTokenRanker(llm), tournaments=2).rerank("q", hits_worth(range(60)))
    batches = [len(prompts) for capability, prompts in llm.calls if capability == "next_token"]
    assert batches[:2] == [6, 6], "3 groups of 20, then 3 of 10, twice each"


def test_at_least_one_tournament() -> None:
    with pytest.raises(InputError, match="tournaments is 0"):
        TourRank(KeyRanker(), tournaments=0)

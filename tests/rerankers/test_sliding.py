import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import InputError
from rag.rerankers.sliding import FullRanking, SlidingWindow
from tests.rerankers.oracle import KeyRanker, hits_worth, worths_of


def test_a_hundred_passages_take_nine_windows_from_the_bottom_up() -> None:
    ranker = KeyRanker()
    ranking = SlidingWindow(ranker).rerank("q", hits_worth(range(100)))
    assert len(ranker.asked) == len(ranking.windows) == 9
    assert ranker.asked[0] == [f"p{place}" for place in range(80, 100)]
    assert ranker.asked[1][:10] == [f"p{place}" for place in range(70, 80)]
    assert ranker.asked[1][10:] == [f"p{place}" for place in range(99, 89, -1)]
    assert ranker.asked[-1][:10] == [f"p{place}" for place in range(10)]
    assert worths_of(ranking)[:10] == list(range(99, 89, -1))


@pytest.mark.parametrize(
    ("count", "windows"),
    [
        (5, [(0, 5)]),
        (20, [(0, 20)]),
        (21, [(1, 21), (0, 11)]),
        (30, [(10, 30), (0, 20)]),
        (37, [(17, 37), (7, 27), (0, 17)]),
        (40, [(20, 40), (10, 30), (0, 20)]),
    ],
)
def test_each_window_shares_as_many_with_the_next(
    count: int, windows: list[tuple[int, int]]
) -> None:
    ranker = KeyRanker(lambda hit: 0)
    SlidingWindow(ranker).rerank("q", hits_worth(range(count)))
    assert ranker.asked == [[f"p{place}" for place in range(*window)] for window in windows]


@given(st.permutations(range(31)), st.integers(2, 12), st.data())
def test_one_pass_settles_what_a_window_keeps(
    worths: list[int], window: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window - 1))
    ranking = SlidingWindow(KeyRanker(), window=window, stride=stride).rerank(
        "q", hits_worth(worths)
    )
    settled = window - stride
    assert worths_of(ranking)[:settled] == sorted(worths, reverse=True)[:settled]


@given(st.permutations(range(31)), st.integers(1, 4))
def test_frozen_passes_settle_the_next_ones(worths: list[int], passes: int) -> None:
    reranker = SlidingWindow(KeyRanker(), window=8, stride=5, passes=passes, freeze=True)
    ranking = reranker.rerank("q", hits_worth(worths))
    assert worths_of(ranking)[: 3 * passes] == sorted(worths, reverse=True)[: 3 * passes]


def test_frozen_passes_make_the_lists_of_full_ranking() -> None:
    """Pass 1 settles 10 of 100, each further one the next 10 (arXiv 2412.14574)."""
    ranker = KeyRanker()
    reranker = SlidingWindow(ranker, passes=9, freeze=True)
    assert worths_of(reranker.rerank("q", hits_worth(range(100)))) == list(range(99, -1, -1))
    firsts = [int(window[0][1:]) for window in ranker.asked[:9]]
    assert firsts == [80, 70, 60, 50, 40, 30, 20, 10, 0]
    assert len(ranker.asked) == sum(range(1, 10))


def test_frozen_passes_end_when_the_wanted_ones_are_settled() -> None:
    ranker = KeyRanker()
    reranker = SlidingWindow(ranker, passes=9, freeze=True)
    reranker.rerank("q", hits_worth(range(100)), top_k=15)
    assert len(ranker.asked) == 9 + 8


@given(st.permutations(range(31)))
def test_a_pass_that_changes_nothing_is_the_last(worths: list[int]) -> None:
    ranker = KeyRanker()
    SlidingWindow(ranker, window=8, stride=4, passes=1000).rerank("q", hits_worth(worths))
    assert len(ranker.asked) <= 7 * len(worths)
    asked = [tuple(window) for window in ranker.asked]
    assert len(set(asked)) == len(asked), "the same window is not asked for twice"


def test_full_ranking_asks_once_for_the_wanted_ones() -> None:
    ranker = KeyRanker()
    ranking = FullRanking(ranker).rerank("q", hits_worth(range(50)), top_k=10)
    assert worths_of(ranking) == list(range(49, 39, -1))
    assert (len(ranker.asked), ranker.tops) == (1, [10])


@pytest.mark.parametrize(
    "options",
    [{"window": 1}, {"stride": 0}, {"stride": 20}, {"passes": 0}, {"passage_tokens": 0}],
)
def test_values_out_of_range_are_refused(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(InputError, match=f"{name} is"):
        SlidingWindow(KeyRanker(), **options)  # type: ignore[arg-type]

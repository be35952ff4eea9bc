import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.setwise import Setwise
from rag.testing import ScriptedLLM
from tests.rerankers.oracle import KeyRanker, OracleLLM, hits_worth, worths_of


@given(st.permutations(range(24)), st.integers(1, 5), st.integers(1, 24))
def test_the_best_come_out_in_order(worths: list[int], children: int, top_k: int) -> None:
    ranking = Setwise(KeyRanker(), children=children).rerank("q", hits_worth(worths), top_k)
    assert worths_of(ranking) == sorted(worths, reverse=True)[:top_k]


def test_the_others_stay_as_they_came() -> None:
    ranker = KeyRanker()
    worths = [3, 1, 4, 1.5, 9, 2, 6, 5]
    reranker = Setwise(ranker, children=3)
    hits = hits_worth(worths)
    windows_of_two = reranker.rerank("q", hits, 2).windows
    assert worths_of(reranker.rerank("q", hits))[:2] == [9, 6]
    assert 0 < len(windows_of_two) < len(reranker.rerank("q", hits).windows)


def test_only_the_best_of_a_window_is_asked_for() -> None:
    ranker = KeyRanker()
    Setwise(ranker, children=3).rerank("q", hits_worth(range(40)), 5)
    assert {*ranker.tops} == {1}
    assert max(map(len, ranker.asked)) == 4


def test_nodes_of_a_level_are_asked_about_side_by_side() -> None:
    llm = OracleLLM()
    Setwise(FirstTokenRanker(llm), children=3).rerank("q", hits_worth(range(40)), 1)
    batches = [len(prompts) for capability, prompts in llm.calls if capability == "next_token"]
    assert batches[0] == 9, "40 nodes in four levels: 9 of the third have children"


def test_a_budget_leaves_what_is_sunk_so_far() -> None:
    ranking = Setwise(FirstTokenRanker(OracleLLM()), children=3).rerank(
        "q", hits_worth(range(13)), 3, budget=Budget(calls=4)
    )
    assert not ranking.complete
    assert ranking.hits[0].passage.text == "worth 12", "four calls find the best of 13"


def test_a_heap_has_children() -> None:
    with pytest.raises(InputError, match="children is 0"):
        Setwise(KeyRanker(), children=0)


def test_windows_without_an_order_leave_the_passages_as_they_came() -> None:
    ranker = PermutationRanker(ScriptedLLM(lambda prompt: "I cannot tell."))
    ranking = Setwise(ranker).rerank("q", hits_worth(range(13)), 5)
    assert ranking.statuses.keys() == {"unreadable"}
    assert worths_of(ranking) == [0, 1, 2, 3, 4]

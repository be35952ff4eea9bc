from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.frontier import frontier

# Few different numbers, so that there are ties.
choices = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)))


@given(choices)
def test_it_is_what_nothing_beats(choices: list[tuple[int, int]]) -> None:
    costs, scores = [cost for cost, _ in choices], [score for _, score in choices]
    unbeaten = {
        (cost, score)
        for cost, score in choices
        if not any(
            (other_cost <= cost and other > score) or (other_cost < cost and other >= score)
            for other_cost, other in choices
        )
    }
    found = frontier(costs, scores)
    assert [choices[position] for position in found] == sorted(unbeaten)
    assert found == [choices.index(choices[position]) for position in found]


@given(choices, st.integers(0, 7))
def test_up_to_any_cost_it_holds_the_best(choices: list[tuple[int, int]], limit: int) -> None:
    found = frontier([cost for cost, _ in choices], [score for _, score in choices])
    best = max((score for cost, score in choices if cost <= limit), default=None)
    of_frontier = [choices[each][1] for each in found if choices[each][0] <= limit]
    assert max(of_frontier, default=None) == best

from collections.abc import Sequence
from itertools import pairwise, permutations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from rag.rerankers.preferences import Preferences


def test_what_follows_is_known() -> None:
    known = Preferences(5)
    known.add([2, 0])
    known.add([0, 4])
    assert known.compared(2, 4)
    assert not known.compared(2, 1)
    assert [known.better(item) for item in range(5)] == [1, 0, 0, 0, 2]


def test_items_go_up_only_to_pass_those_they_beat() -> None:
    known = Preferences(6)
    assert known.ranking() == [0, 1, 2, 3, 4, 5]
    known.add([4, 1])
    assert known.ranking() == [0, 4, 1, 2, 3, 5]


def test_contradictions_are_ties() -> None:
    known = Preferences(4)
    known.add([0, 1, 2])
    known.add([2, 0])
    assert [known.better(item) for item in range(4)] == [0, 0, 0, 0]
    known.add([3, 1])
    assert known.ranking() == [3, 0, 1, 2]
    assert known.open(4) == []


counts = st.integers(2, 6)
Answers = tuple[int, list[list[int]]]


def _windows(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(range(count)), min_size=2, max_size=4, unique=True)


any_answers = counts.flatmap(
    lambda count: st.tuples(st.just(count), st.lists(_windows(count), max_size=6))
)
# Answers to windows that one order of all items explains, whichever it is.
consistent_answers = counts.flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.tuples(st.permutations(range(count)), st.lists(_windows(count), max_size=5)).map(
            lambda drawn: [sorted(window, key=drawn[0].index) for window in drawn[1]]
        ),
    )
)


@given(any_answers)
def test_the_closure_is_that_of_the_graph(drawn: Answers) -> None:
    count, answers = drawn
    known = _told(count, answers)
    reaches = _closure(count, answers)
    ranking = known.ranking()
    for one, other in product(range(count), repeat=2):
        assert known.compared(one, other) == (reaches[one][other] or reaches[other][one])
        if reaches[one][other] and not reaches[other][one]:
            assert ranking.index(one) < ranking.index(other)
    for item in range(count):
        above = [each for each in range(count) if reaches[each][item] and not reaches[item][each]]
        assert known.better(item) == len(above)


@settings(max_examples=200)
@given(consistent_answers, st.integers(1, 6))
def test_nothing_is_open_exactly_when_the_top_can_no_longer_change(
    drawn: Answers, top: int
) -> None:
    """The stopping rule, against every order of all items that agrees with the answers."""
    count, answers = drawn
    known = _told(count, answers)
    pairs = {pair for answer in answers for pair in pairwise(answer)}
    tops = {
        order[:top]
        for order in permutations(range(count))
        if all(order.index(first) < order.index(second) for first, second in pairs)
    }
    assert (not known.open(top)) == (len(tops) == 1)
    if len(tops) == 1:
        assert tops == {tuple(known.ranking()[:top])}


def _told(count: int, answers: Sequence[Sequence[int]]) -> Preferences:
    known = Preferences(count)
    for answer in answers:
        known.add(answer)
    return known


def _closure(count: int, answers: Sequence[Sequence[int]]) -> list[list[bool]]:
    reaches = [[one == other for other in range(count)] for one in range(count)]
    for answer in answers:
        for first, second in pairwise(answer):
            reaches[first][second] = True
    for through, one, other in product(range(count), repeat=3):
        reaches[one][other] |= reaches[one][through] and reaches[through][other]
    return reaches

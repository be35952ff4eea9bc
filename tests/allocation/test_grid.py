from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.grid import parse_grid
from rag.core.allocations import Allocation
from rag.core.errors import InputError

numbers = st.lists(st.integers(0, 10**6 - 1), min_size=1, max_size=4)
choices = st.fixed_dictionaries(
    {}, optional={"k": numbers, "m": numbers, "n": st.lists(st.integers(1, 99), min_size=1)}
)
strategies = st.sampled_from(["DRAG", "IterDRAG", "Self-Ask"])
spaces = st.sampled_from([" ", "  ", "\t", "\n"])


@given(st.lists(st.tuples(strategies, choices), min_size=1, max_size=3), spaces)
def test_a_grid_has_all_combinations_of_each_strategy_once(
    parts: list[tuple[str, dict[str, list[int]]]], space: str
) -> None:
    texts = [
        space.join([strategy, *(f"{name}={','.join(map(str, each))}" for name, each in by.items())])
        for strategy, by in parts
    ]
    expected = {
        (strategy, Allocation(*theta))
        for strategy, by in parts
        for theta in product(by.get("k", [0]), by.get("m", [0]), by.get("n", [1]))
    }
    found = parse_grid(f"{space};{space}".join(texts))
    assert set(found) == expected
    assert len(found) == len(expected)


@given(st.text("DRAGkmn=0123456789,;. \n\u0661²-"))
def test_any_text_is_a_grid_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert parse_grid(text)


def test_what_takes_less_comes_first() -> None:
    found = parse_grid("IterDRAG k=2 m=1 n=4; DRAG k=10,0 m=0,2; IterDRAG k=2 n=1")
    assert found == [
        ("DRAG", Allocation(0)),
        ("DRAG", Allocation(0, 2)),
        ("IterDRAG", Allocation(2)),
        ("DRAG", Allocation(10)),
        ("DRAG", Allocation(10, 2)),
        ("IterDRAG", Allocation(2, 1, 4)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DRAG k=1,two", "'k=1,two' in the grid is not like k=0,1,5"),
        ("DRAG k=1; IterDRAG x=2", "'x=2' in the grid"),
        ("DRAG k= 1", "'k=' in the grid"),
        ("DRAG k=-1", "'k=-1' in the grid"),
        ("DRAG k=" + "9" * 5000, "9' in the grid"),
        ("DRAG k=1 k=2", "'k=2' in the grid gives DRAG a second k"),
        ("k=1,2", "'k=1,2' in the grid stands where a strategy"),
        ("IterDRAG n=0", "0 steps; it is at least 1"),
        (" ; ", "the grid is empty"),
    ],
)
def test_a_bad_word_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_grid(text)
    assert said in str(caught.value)

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.pipelines.sentence_ranges import Range, parse_ranges


def parsed(text: str, count: int = 20, most: int = 8) -> list[Range] | None:
    return parse_ranges(text, count, most)


@pytest.mark.parametrize(
    "text",
    [
        '{"ranges": [[3, 5], [9, 9]]}',
        '{"ranges": [[3, 5], 9]}',
        '{"ranges": [[9], [5, 3]]}',
        'Sure: {"ranges": [[3,4],[5,5],[4,5],[9,9]]}. These help.',
        "[[3, 5], [9, 9]]",
        "3-5, 9",
        "3 - 5; 9.",
        "3\u20135 and 9",
        "3 to 5, 9",
        "[3-5], [9]",
        "3, 4, 5, 9",
        "9, 3 4 5",
        "Sentences 3-5 and 9",
        "**Relevant sentences:** 3-5, 9",
        "Answer: 3-5, 9\n\nThey name 17 towers.",
        "<think>1-2 say nothing.</think>\n3-5, 9",
        "3-5, 9, 0, 21, 30-40",
    ],
)
def test_ranges_are_read(text: str) -> None:
    assert parsed(text) == [(3, 5), (9, 9)]


@pytest.mark.parametrize(
    "text", ['{"ranges": []}', "none", "None.", "Answer: none", "No sentence helps.", "**None**"]
)
def test_nothing_is_an_answer(text: str) -> None:
    assert parsed(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The tower is 330 m high.",
        "In 1889 and 1890",
        "I cannot help with 3-5.",
        "30-40",
        "0",
        '{"ranges": [[21, 30]]}',
        '{"ranges": "3-5"}',
        '{"ranges": [[3, 5, 7]]}',
        '{"ranges": [[true, 5]]}',
        '{"ranges": [["3", "5"]]}',
        '{"sentences": [3]}',
        '{"ranges": [[3, 5], [9',
        "<think>3-5",
        "3-5-9",
        "3.5%",
    ],
)
def test_what_names_no_sentences_states_nothing(text: str) -> None:
    assert parsed(text) is None


def test_ranges_stay_within_the_sentences_and_their_number() -> None:
    assert parsed("18-99") == [(18, 20)]
    assert parsed("9, 1, 5, 7", most=2) == [(1, 1), (9, 9)]


ranges = st.lists(st.tuples(st.integers(-3, 40), st.integers(-3, 40)), max_size=12)


@given(ranges, st.integers(1, 30), st.integers(1, 9))
def test_ranges_that_are_stated_are_in_order_and_apart(
    stated: list[Range], count: int, most: int
) -> None:
    found = parsed(json.dumps({"ranges": stated}), count, most)
    if found is None:
        assert stated
        assert all(max(pair) < 1 or min(pair) > count for pair in stated)
        return
    assert bool(found) == bool(stated)
    assert len(found) <= most
    borders = [border for first, last in found for border in (first, last + 1)]
    assert borders == sorted(set(borders))
    assert all(1 <= first <= last <= count for first, last in found)
    named = {n for pair in stated for n in range(min(pair), max(pair) + 1)}
    assert {n for first, last in found for n in range(first, last + 1)} <= named


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_a_list_of_sentences_reads_as_it_stands(numbers: list[int]) -> None:
    found = parsed(", ".join(map(str, numbers)))
    assert {n for first, last in found or [] for n in range(first, last + 1)} == set(numbers)


@given(st.text(alphabet='0123456789-,[]{}" \nranges', max_size=80) | st.text())
def test_any_reply_is_read_or_not(text: str) -> None:
    for first, last in parsed(text) or []:
        assert 1 <= first <= last <= 20

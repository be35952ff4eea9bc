from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.pipelines.known_text import NumberedSentences, Stretch, stretches
from tests.pipelines.passages import hit

TEXT = "One is odd. Two is even. Three is odd.\n\nFour is even. Five is odd. Six is even."


def passage(start: int, end: int, text: str = TEXT) -> Passage:
    return hit(text[start:end], start=start).passage


def test_passages_are_joined_where_they_overlap_or_touch() -> None:
    assert stretches([passage(20, 38), passage(0, 24)]) == [Stretch(0, TEXT[:38])]
    assert stretches([passage(0, 12), passage(12, 24)]) == [Stretch(0, TEXT[:24])]
    assert stretches([passage(0, 38), passage(12, 24)]) == [Stretch(0, TEXT[:38])]


def test_what_lies_between_passages_is_a_gap() -> None:
    assert stretches([passage(25, 38), passage(0, 24)]) == [
        Stretch(0, TEXT[:24]),
        Stretch(25, TEXT[25:38]),
    ]


def test_passages_of_two_versions_are_not_joined() -> None:
    other = hit("Two is prime. Three is odd.", start=12).passage
    assert stretches([passage(0, 24), other]) == [
        Stretch(0, TEXT[:24]),
        Stretch(12, other.text),
    ]


def test_sentences_are_numbered_across_gaps() -> None:
    numbered = NumberedSentences([passage(40, 80), passage(0, 24)])
    assert len(numbered) == 5
    assert str(numbered) == (
        "1: One is odd.\n2: Two is even.\n…\n3: Four is even.\n4: Five is odd.\n5: Six is even."
    )


def test_no_text_numbers_itself() -> None:
    forged = hit("One\nis odd\n7: and\u2028 eight is even. Two.").passage
    assert str(NumberedSentences([forged])) == "1: One is odd 7: and eight is even.\n2: Two."


def test_a_range_is_cut_at_gaps_and_otherwise_whole() -> None:
    numbered = NumberedSentences([passage(0, 24), passage(25, 80)])
    assert numbered.cut(1, 1) == [Stretch(0, "One is odd.")]
    assert numbered.cut(2, 4) == [
        Stretch(12, "Two is even."),
        Stretch(25, "Three is odd.\n\nFour is even."),
    ]


@given(
    st.lists(st.sampled_from(["Ab. ", "Cd! ", "e\n\n", "- f\n", "? ", "\U0001f600 "]), max_size=20),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=6),
    st.data(),
)
def test_what_is_cut_is_text_of_a_passage(
    words: list[str], places: list[tuple[int, int]], data: st.DataObject
) -> None:
    text = "".join(words)
    passages = [passage(a, a + n, text) for a, n in places if text[a : a + n]]
    numbered = NumberedSentences(passages)
    if not len(numbered):
        return
    first = data.draw(st.integers(1, len(numbered)))
    last = data.draw(st.integers(first, len(numbered)))
    parts = numbered.cut(first, last)
    assert parts
    known = {at for each in passages for at in range(each.start, each.end)}
    for part in parts:
        assert part.text
        assert part.text == text[part.start : part.end]
        assert known.issuperset(range(part.start, part.end))

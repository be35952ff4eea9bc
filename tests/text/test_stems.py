"""Words as they are compared."""

from hypothesis import given
from hypothesis import strategies as st

from rag.text.stems import stems


def test_forms_of_a_word_are_one():
    assert stems("Waiting WAITS waited") == ["wait"] * 3
    assert stems("Białowieża héron") == stems("bialowieza HERON")


def test_function_words_are_left_out_on_request():
    assert stems("The owl is in the tree") == ["the", "owl", "is", "in", "the", "tree"]
    assert stems("The owl is in the tree", content_only=True) == ["owl", "tree"]
    assert stems("it is the", content_only=True) == []


WORDS = st.lists(st.text("abcdefghijklmnop", min_size=1) | st.sampled_from(["the", "is"]))


@given(WORDS)
def test_content_is_part_of_all(words):
    text = " ".join(words)
    assert {*stems(text, content_only=True)} <= {*stems(text)}


@given(st.text())
def test_any_text_has_stems(text):
    assert all(stems(text)), "no stem is empty"
    assert len(stems(text, content_only=True)) <= len(text)

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text.sentences import sentence_spans


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "stop." Then left.', ['He said "stop."', "Then left."]),
        ("Use e.g. this. Fine.", ["Use e.g. this.", "Fine."]),
        ("Version 3.37.0 is out.", ["Version 3.37.0 is out."]),
        ("これは文です。次の文。", ["これは文です。", "次の文。"]),
        ("1. First item\n2. Second item", ["1. First item", "2. Second item"]),
        ("# Heading\n\nText here.", ["# Heading", "Text here."]),
        ("wrapped\nline goes on.", ["wrapped\nline goes on."]),
        (" \n ", []),
    ],
)
def test_sentences(text, sentences):
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


@given(st.text())
def test_spans_cover_all_but_white_space(text):
    spans = sentence_spans(text)
    assert all(text[a:b].strip() == text[a:b] != "" for a, b in spans)
    assert all(left[1] <= right[0] for left, right in pairwise(spans))
    assert "".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split())

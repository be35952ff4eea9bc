import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.documents import Document, Passage
from rag.core.errors import InputError
from rag.text import Splitter
from tests.text.conftest import words

LINES = st.sampled_from(
    [
        "# Top",
        "## Second",
        "#### Deep one ####",
        "One sentence. Another one! A third? yes, e.g. this.",
        "- an item",
        "1. First. Second",
        "| a | b |",
        "| --- | --- |",
        "```",
        "~~~",
        "# no heading in code",
        "    indented",
        "word " * 30,
        "x" * 300,
        "漢字" * 60,
        "これは文です。" * 10,
        "😀👩‍👩‍👧" * 8,
        "a-b/c.d_e [SEP] \u200b <b>&amp;</b>",
        "." * 60,
    ]
)
TEXTS = st.lists(LINES | st.text(max_size=40) | st.just(""), max_size=40).flatmap(
    lambda lines: st.sampled_from(["\n", "\n\n", " ", ""]).map(lambda mark: mark.join(lines))
)
TITLES = st.sampled_from(["", "A title", "A long title " * 30, "y" * 400]) | st.text(max_size=20)


def split(text: str, *, title="", kind="markdown", tokenizer=words, **sizes) -> list[Passage]:
    document = Document("d", text, title, metadata={"format": kind})
    (passages,) = Splitter(tokenizer, **sizes).split([document])
    check(document, passages, tokenizer, sizes["max_tokens"] - sizes.get("special_tokens", 0))
    return passages


def check(document: Document, passages: list[Passage], tokenizer, limit: int) -> None:
    """What holds for every document."""
    covered = set()
    for passage in passages:
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text == passage.text.strip() != ""
        assert passage.id == f"{document.id}#{passage.start}-{passage.end}"
        covered.update(range(passage.start, passage.end))
    starts = [passage.start for passage in passages]
    assert starts == sorted(set(starts))
    shown = {i for i, character in enumerate(document.text) if not character.isspace()}
    assert shown <= covered
    counts = [len(spans) for spans in tokenizer([p.indexed_text for p in passages])]
    assert max(counts, default=0) <= limit


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, TITLES, st.sampled_from(["markdown", "text"]), st.sampled_from([18, 24, 66, 256]))
def test_any_text_with_word_pieces(word_pieces, text, title, kind, most):
    split(
        text,
        title=title,
        kind=kind,
        tokenizer=word_pieces,
        max_tokens=most,
        special_tokens=2,
    )


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, TITLES, st.sampled_from([16, 20, 64]), st.integers(0, 8))
def test_any_text_with_words(text, title, most, overlap):
    split(text, title=title, max_tokens=most, overlap=overlap)


def test_a_tokenizer_that_counts_more_at_a_cut_is_counted_again():
    def spans(texts):
        # A text's first word is three tokens, as if the tokenizer marked beginnings.
        return [[found[0]] * 2 + found if found else [] for found in words(texts)]

    split("word " * 500, max_tokens=20, tokenizer=spans)


def test_passages_end_at_headings_and_carry_those_above():
    text = "\n\n".join(
        f"{mark} {name}\n\n" + "words " * 12
        for mark, name in [("#", "Guide"), ("##", "Setup"), ("###", "Linux"), ("##", "Use")]
    )
    passages = split(text, title="Guide", max_tokens=24)
    assert [(p.heading, p.text.splitlines()[0]) for p in passages] == [
        ("", "# Guide"),  # its title is the document's
        ("", "## Setup"),
        ("Setup", "### Linux"),
        ("", "## Use"),
    ]


def test_a_passage_within_a_section_has_its_heading():
    passages = split("# A\n\n## B\n\n" + "word " * 60, max_tokens=32)
    assert [p.heading for p in passages] == ["", "A > B", "A > B"]


def test_short_sections_share_a_passage():
    text = "\n\n".join(f"## Q{i}\n\nYes." for i in range(4))
    (passage,) = split(text, max_tokens=64)
    assert passage.text == text


def test_hash_lines_in_code_are_no_headings():
    passages = split("```\n# comment\n```\n\n" + "word " * 60, max_tokens=32)
    assert {p.heading for p in passages} == {""}


def test_hash_lines_in_plain_text_are_no_headings():
    passages = split("# shell prompt\n\n" + "word " * 60, kind="text", max_tokens=32)
    assert {p.heading for p in passages} == {""}


@pytest.mark.parametrize(
    "block",
    ["```\n" + "some code. Here\n\n" * 5 + "```", "| a | b |\n" * 4],
    ids=["code", "table"],
)
def test_code_and_tables_that_fit_stay_whole(block):
    text = "Before it. " * 10 + f"\n\n{block}\n\n" + "After it. " * 10
    assert any(block.strip() in p.text for p in split(text, max_tokens=32))


def test_a_long_table_is_cut_between_rows():
    rows = [f"| row {i} | value {i} |" for i in range(40)]
    for passage in split("\n".join(rows), max_tokens=32):
        assert set(passage.text.split("\n")) <= set(rows)


def test_sentences_stay_whole_and_repeat_as_overlap():
    sentences = [f"Sentence number {i} says something." for i in range(30)]
    passages = split(" ".join(sentences), max_tokens=32, overlap=6)
    for passage in passages:
        assert re.findall(r"Sentence[^.]*\.", passage.text) == re.split(r"(?<=\.) ", passage.text)
    for before, after in pairwise(passages):
        assert before.end - after.start == len(re.match(r"[^.]*\.", after.text)[0])


def test_no_overlap_on_demand():
    passages = split("One two three four. " * 40, max_tokens=20, overlap=0)
    # All but the last, a small rest, begin where the one before ends.
    assert all(a.end <= b.start for a, b in pairwise(passages[:-1]))


def test_a_small_rest_repeats_more():
    # 32 fit; the last word alone would make a passage that says nothing.
    *_, last = split("One two three four. " * 8 + "End.", max_tokens=32, overlap=0)
    assert last.text == "One two three four. End."


def test_a_word_that_the_tokenizer_gives_up_on_is_cut(word_pieces):
    passages = split("z" * 100_000, tokenizer=word_pieces, max_tokens=256, special_tokens=2)
    assert all(len(p.text) <= 256 * 32 for p in passages)


def test_labels_that_are_too_long_lose_outer_headings_then_the_end_of_the_title():
    text = f"# {'outer ' * 8}\n\n## inner\n\n" + "word " * 60
    *_, last = split(text, title="T", max_tokens=32)
    assert (last.title, last.heading) == ("T", "inner")
    *_, last = split(text, title="one two three " * 9, max_tokens=32)
    assert last.heading == ""
    assert last.title == "one two three one two three one…"


def test_unchanged_text_keeps_its_ids():
    text = "# A\n\n" + "Some words here. " * 50
    assert split(text, max_tokens=32) == split(text, max_tokens=32)


def test_documents_in_a_batch_do_not_affect_each_other():
    documents = [Document(f"d{i}", f"Text {i}. " * 10 * i, f"Title {i}") for i in range(5)]
    splitter = Splitter(words, 32)
    assert splitter.split(documents) == [splitter.split([d])[0] for d in documents]


@pytest.mark.parametrize("text", ["", " \n\n\t ", "\u00a0"])
def test_no_passage_without_text(text):
    assert split(text, max_tokens=32) == []


# Each would take hours under a quadratic regular expression or scan.
@pytest.mark.parametrize(
    "text",
    [
        "." * 300_000,
        '."' * 150_000,
        "a" + " " * 300_000 + "b",
        "\n" * 300_000,
        "# " + "[" * 300_000,
        "# a " + "#" * 300_000,
        "```\n" * 50_000,
        "|" * 300_000,
        "\n1. " * 50_000,
        "x" * 300_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_texts(text):
    split(text, max_tokens=256)


@pytest.mark.parametrize(
    "sizes",
    [
        {"max_tokens": 15},
        {"max_tokens": 20, "special_tokens": 5},
        {"max_tokens": 32, "overlap": 17},
    ],
)
def test_sizes_that_leave_no_room(sizes):
    with pytest.raises(InputError):
        Splitter(words, **sizes)


def test_a_character_with_too_many_tokens():
    with pytest.raises(InputError, match="does not fit"):
        split("!", tokenizer=lambda texts: [[(0, 1)] * 20 for _ in texts], max_tokens=16)

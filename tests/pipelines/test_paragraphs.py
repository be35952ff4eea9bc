from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.core.hits import Hit
from rag.pipelines.paragraphs import SENTENCES, best_paragraphs
from tests.pipelines.passages import LIMITS, WAL, hit

NUMBERED = " ".join(f"Sentence number {n} is about topic {n}." for n in range(1, 15))


def piece(text: str, start: int, end: int, document_id: str = "doc", **fields: str) -> Hit:
    name = f"{document_id}#{start}-{end}"
    return Hit(Passage(name, document_id, text[start:end], start, end, **fields), 1.0)


def texts(hits: list[Hit]) -> list[str]:
    return [each.passage.text for each in hits]


def test_a_paragraph_is_six_sentences() -> None:
    found = best_paragraphs("topic", [hit(NUMBERED)])
    assert sorted(text.count("Sentence") for text in texts(found)) == [2, 6, 6]
    by_place = sorted(found, key=lambda each: each.passage.start)
    assert [each.passage.text.split()[2] for each in by_place] == ["1", "7", "13"]


def test_passages_that_overlap_or_touch_are_read_as_one() -> None:
    middle, end = NUMBERED.index("number 4"), NUMBERED.index(" Sentence number 6")
    hits = [piece(NUMBERED, middle, 150), piece(NUMBERED, 0, middle), piece(NUMBERED, 140, end)]
    (paragraph,) = best_paragraphs("topic 4", hits)
    assert paragraph.passage.text == NUMBERED[:end]
    assert (paragraph.passage.start, paragraph.passage.end) == (0, end)
    assert paragraph.passage.id == f"doc#0-{end}"


def test_no_paragraph_spans_what_was_not_found() -> None:
    hits = [piece(NUMBERED, 0, 37), piece(NUMBERED, 75, 112)]
    assert sorted(texts(best_paragraphs("topic", hits))) == sorted(texts(hits))


def test_a_paragraph_has_what_its_passage_says_of_itself() -> None:
    passage = piece(NUMBERED, 0, 37, title="Topics", heading="One", uri="https://a.example/")
    (paragraph,) = best_paragraphs("topic", [passage])
    assert paragraph.passage == passage.passage


def test_documents_of_one_name_from_two_places_stay_apart() -> None:
    one, other = piece(NUMBERED, 0, 37, uri="a"), piece(NUMBERED, 37, 75, uri="b")
    assert {each.passage.uri for each in best_paragraphs("topic", [one, other])} == {"a", "b"}


def test_the_nearest_come_first_with_their_share_of_the_cosines() -> None:
    found = best_paragraphs("Is WAL mode enabled for readers?", [LIMITS, WAL])
    assert texts(found) == texts([WAL, LIMITS])
    assert sum(each.score for each in found) == pytest.approx(1)
    assert found[0].score > 0.9
    assert found[1].scores["tfidf"] == 0 < found[1].score
    (kept,) = best_paragraphs("Is WAL mode enabled?", [LIMITS, WAL], 1)
    assert (kept.passage.document_id, kept.score) == ("wal.html", 1.0)


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    hits = [hit(f"A ship sails to {each}.", document_id=each) for each in ("Oslo", "Bergen")]
    best, _ = best_paragraphs("Which ship sails to Bergen?", hits)
    assert best.passage.document_id == "Bergen"


def test_titles_count() -> None:
    hits = [hit("It is large.", document_id=each, title=each) for each in ("Oslo", "Bergen")]
    assert best_paragraphs("How large is Bergen?", hits)[0].passage.title == "Bergen"


@pytest.mark.parametrize("question", ["", "who is it?", "zebra"])
def test_without_a_word_in_common_all_are_equal_and_keep_their_order(question: str) -> None:
    found = best_paragraphs(question, [LIMITS, WAL])
    assert texts(found) == texts([LIMITS, WAL])
    assert [each.score for each in found] == [0.5, 0.5]


def test_nothing_found_has_no_paragraphs() -> None:
    assert best_paragraphs("topic", []) == []
    assert best_paragraphs("topic", [hit("  ")]) == []


@given(st.lists(st.tuples(st.integers(0, 520), st.integers(1, 200)), max_size=8))
def test_paragraphs_are_verbatim_and_no_sentence_is_lost(ranges: list[tuple[int, int]]) -> None:
    hits = [piece(NUMBERED, start, min(start + size, len(NUMBERED))) for start, size in ranges]
    found = best_paragraphs("topic 3", hits)
    for each in (paragraph.passage for paragraph in found):
        assert NUMBERED[each.start : each.end] == each.text != ""
        assert each.text.count("Sentence") <= SENTENCES
    covered = {n for each in found for n in range(each.passage.start, each.passage.end)}
    assert covered >= set(_said(hits))
    assert sum(each.score for each in found) == pytest.approx(1 if found else 0)


def _said(hits: list[Hit]) -> Iterator[int]:
    """Yield the places of all characters found that are no white space."""
    for each in hits:
        for place in range(each.passage.start, each.passage.end):
            if not NUMBERED[place].isspace():
                yield place

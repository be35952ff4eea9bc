import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.pipelines.citations import cite
from tests.pipelines.passages import LIMITS, WAL, hit

HITS = (WAL, LIMITS)
QUESTION = "How do I enable WAL mode?"


def test_a_sentence_is_cited_by_the_characters_that_support_it() -> None:
    cited = cite("You enable it with PRAGMA journal_mode=WAL [1].", QUESTION, HITS)
    assert cited.text == "You enable it with PRAGMA journal_mode=WAL. [1]"
    (citation,) = cited.citations
    assert citation.document_id == "wal.html"
    assert citation.quote == "Enable it with PRAGMA journal_mode=WAL; it then persists."
    text = WAL.passage.text
    assert text[citation.start - 1000 : citation.end - 1000] == citation.quote
    assert (citation.title, cited.unsupported, cited.notes) == ("Write-Ahead Logging", (), ())


@pytest.mark.parametrize(
    "reply",
    [
        "It can hold 281 terabytes [2]. Use PRAGMA journal_mode=WAL [1].",
        "It can hold 281 terabytes. [2] Use PRAGMA journal_mode=WAL. [1]",
        "It can hold 281 terabytes [2, 7]. Use PRAGMA journal_mode=WAL.",
        "It can hold 281 terabytes. Use PRAGMA journal_mode=WAL.[1]",
    ],
)
def test_numbers_are_assigned_anew_in_order_of_appearance(reply: str) -> None:
    cited = cite(reply, QUESTION, HITS)
    assert cited.text == "It can hold 281 terabytes. [1] Use PRAGMA journal_mode=WAL. [2]"
    assert [c.document_id for c in cited.citations] == ["limits.html", "wal.html"]


def test_a_wrong_number_is_corrected_and_counted() -> None:
    cited = cite("Use PRAGMA journal_mode=WAL [2].", QUESTION, HITS)
    assert [c.document_id for c in cited.citations] == ["wal.html"]
    assert cited.notes == ("citations dropped for lack of support: 1",)


def test_numbers_that_were_not_shown_mean_nothing() -> None:
    cited = cite("Use PRAGMA journal_mode=WAL [2].", QUESTION, HITS, numbered=False)
    assert [c.document_id for c in cited.citations] == ["wal.html"]
    assert (cited.text, cited.notes) == ("Use PRAGMA journal_mode=WAL. [1]", ())


def test_what_no_passage_says_gets_no_citation() -> None:
    cited = cite("Set the environment variable SQLITE_FAST [1].", QUESTION, HITS)
    assert cited.citations == ()
    assert cited.unsupported == ("Set the environment variable SQLITE_FAST.",)


def test_a_wrong_number_in_a_claim_is_not_supported() -> None:
    assert cite("A database is at most 140 terabytes.", "", HITS).citations == ()


def test_a_quotation_must_stand_in_the_text() -> None:
    question = "What of readers?"
    true = cite('The text says "Readers do not block writers".', question, HITS)
    false = cite('The text says "Readers block all writers".', question, HITS)
    assert (len(true.citations), len(false.citations)) == (1, 0)


def test_support_may_span_two_sentences() -> None:
    cited = cite("It is off by default but persists.", QUESTION, HITS)
    (citation,) = cited.citations
    assert citation.quote.startswith("WAL mode is off")
    assert citation.quote.endswith("persists.")


def test_a_denial_is_not_supported_by_its_opposite() -> None:
    question = "Do readers block writers?"
    assert cite("No, readers do not block writers.", question, HITS).citations
    assert not cite("Yes, readers block writers.", question, HITS).citations


def test_headings_and_questions_support_nothing() -> None:
    hits = (hit("# Paris is in France\n\nIs Paris in Spain?"),)
    assert not cite("Paris is in France.", "", hits).citations
    assert not cite("Paris is in Spain.", "", hits).citations


def test_what_is_repeated_is_said_once() -> None:
    cited = cite("PRAGMA journal_mode=WAL.\nPRAGMA journal_mode=WAL.", QUESTION, HITS)
    assert cited.text == "PRAGMA journal_mode=WAL. [1]"


def test_a_name_in_a_claim_must_stand_in_the_text() -> None:
    for claim in ("Readers do not block Oracle writers.", "Readers do not block SQL_READ writers."):
        assert cite(claim, QUESTION, HITS).unsupported == (claim,)


def test_overlapping_passages_are_cited_once() -> None:
    text = WAL.passage.text
    tail = hit(text[28:], document_id="wal.html", start=1028)
    cited = cite("PRAGMA journal_mode=WAL [1]. It persists [2].", QUESTION, (WAL, tail))
    assert len({(c.start, c.end) for c in cited.citations}) == len(cited.citations) == 1


def test_words_of_the_question_prove_nothing() -> None:
    hits = (
        hit("The capital of France has many museums.", document_id="museums"),
        hit("Paris is on the Seine.", document_id="rivers"),
    )
    cited = cite("The capital of France is Paris.", "What is the capital of France?", hits)
    assert cited.citations[0].quote == "Paris is on the Seine."


@given(st.text(), st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_any_reply_yields_ranges_of_the_passages(
    reply: str, question: str, texts: list[str]
) -> None:
    hits = [hit(text, document_id=str(n), start=n * 10) for n, text in enumerate(texts)]
    cited = cite(reply, question, hits)
    assert [c.number for c in cited.citations] == list(range(1, len(cited.citations) + 1))
    for citation in cited.citations:
        offset = int(citation.document_id) * 10
        text = texts[int(citation.document_id)]
        assert text[citation.start - offset : citation.end - offset] == citation.quote

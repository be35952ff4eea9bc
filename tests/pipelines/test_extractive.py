from rag.core.search_operations import Search
from rag.pipelines.extractive import NOTHING_FOUND, ExtractiveRead, extract
from tests.core.backends import WordRetriever
from tests.pipelines.passages import LIMITS, WAL, hit


def test_the_sentences_that_speak_most_of_the_question_are_quoted() -> None:
    answer = extract("How many columns can a table have?", (WAL, LIMITS), most=1)
    assert answer.text == "A table has at most 2000 columns. [1]"
    (citation,) = answer.citations
    assert citation.quote == LIMITS.passage.text[citation.start : citation.end]


def test_nothing_in_common_is_no_answer() -> None:
    answer = extract("Who wrote Hamlet?", (WAL, LIMITS))
    assert (answer.text, answer.supported, answer.citations) == (NOTHING_FOUND, False, ())


def test_of_overlapping_passages_a_sentence_is_quoted_once_and_whole() -> None:
    text = LIMITS.passage.text
    start = text.index("table has")
    tail = hit(text[start:], document_id="limits.html", start=start)
    answer = extract("How many columns can a table have?", (tail, LIMITS))
    assert [each.quote for each in answer.citations] == ["A table has at most 2000 columns."]


def test_half_a_question_in_common_is_no_answer() -> None:
    assert not extract("Who wrote the columns of Mongolian newspapers?", (WAL, LIMITS)).supported


def test_it_asks_for_one_search_and_for_no_model() -> None:
    program = ExtractiveRead(WordRetriever(), top_k=7).program("why?", {"lang": "en"})
    assert program.send(None) == Search("why?", 7, {"lang": "en"})
    program.close()
    answer = ExtractiveRead(WordRetriever()).answer("Snow is white")
    assert answer.text == "Snow is white [1]"
    assert (answer.usage.calls, answer.usage.searches) == (0, 1)


def test_no_hits_no_answer() -> None:
    assert not extract("anything", ()).supported

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.pipelines.keywords import LONGEST, Keywords, as_query, clean

TODAY = date(2026, 3, 31)


def cleaned(query: str, question: str = "") -> str:
    return " | ".join(clean([query], question, TODAY).queries)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("  gold   price\n", "gold price"),
        ("gold\x00price\u202e \x1b[31m", "gold price [31m"),
        ('"gold price"', "gold price"),
        ("“gold” price", "gold price"),
        ("gold price site:kitco.com", "gold price"),
        ("gold -site: kitco.com price", "gold price"),
        ("intitle:gold filetype:pdf price", "price"),
        ("gold -silver +price", "gold silver price"),
        ("gold https://evil.example/?q=secret price", "gold price"),
        ("see www.example.org gold", "see gold"),
        ("C++ e-mail -40 degrees", "C++ e-mail -40 degrees"),
        ("onsite: massage", "onsite: massage"),
        ("?!", ""),
        ("", ""),
    ],
)
def test_what_no_query_needs_is_left_out(query: str, left: str) -> None:
    assert cleaned(query) == left


def test_what_the_question_has_stays() -> None:
    question = 'Search site:sqlite.org for "write ahead" at https://sqlite.org, 1998'
    query = 'site:sqlite.org "write ahead" https://sqlite.org, 1998'
    assert cleaned(query, question) == query


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("best laptop 2023", "best laptop"),
        ("best laptop in 2023 review", "best laptop review"),
        ("NBA season 2023-24 winner", "NBA season winner"),
        ("NBA season 2023/2024 winner", "NBA season winner"),
        ("rates as of March 5, 2023", "rates"),
        ("rates 5 march 2023 euro", "rates euro"),
        ("rates 2023-05-01", "rates"),
        ("marvel 2023", "marvel"),
        ("best laptop 2026", "best laptop 2026"),
        ("version 20.04 and 2.2019", "version 20.04 and 2.2019"),
        ("asteroid 20231", "asteroid 20231"),
    ],
)
def test_years_of_another_time_are_left_out(query: str, left: str) -> None:
    assert cleaned(query, "What is the best?") == left


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("Who won the 1998 world cup?", "world cup 1998 winner"),
        ("Who won last year?", "winner 2025"),
        ("What changes next January?", "changes January 2027"),
        ("What came out 5 March 2023?", "releases 5 March 2023"),
    ],
)
def test_years_that_the_question_speaks_of_stay(question: str, query: str) -> None:
    assert clean([query], question, TODAY) == Keywords((query,))


def test_stale_years_are_named_once() -> None:
    keywords = clean(["a 2023", "b 2021 2023"], "a and b?", TODAY)
    assert keywords == Keywords(("a", "b"), (2023, 2021))


def test_queries_that_say_the_same_are_one() -> None:
    assert clean(["Gold price", "gold  PRICE", "silver"], "", TODAY).queries == (
        "Gold price",
        "silver",
    )


def test_long_queries_are_cut_between_words() -> None:
    assert cleaned("word " * 100) == ("word " * 32).strip()
    assert as_query("x" * 1000) == "x" * LONGEST


def test_a_question_is_a_query_on_one_line() -> None:
    assert as_query("Was \n kostet\tdas? site:a.b") == "Was kostet das? site:a.b"


@given(st.lists(st.text(max_size=250), max_size=4), st.text(max_size=60))
def test_whatever_is_written_can_be_sent(written: list[str], question: str) -> None:
    queries = clean(written, question, TODAY).queries
    assert len(set(queries)) == len(queries) <= len(written)
    for query in (*queries, as_query(question)):
        assert len(query) <= LONGEST
        assert query.isprintable()
        assert query == " ".join(query.split())
        query.encode()
    assert clean(queries, question, TODAY).queries == queries

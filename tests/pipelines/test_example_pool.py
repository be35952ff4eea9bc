from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.engine import Engine
from rag.core.search_operations import Search
from rag.core.worked_examples import WorkedExample, same_question
from rag.pipelines import ExamplePool
from rag.retrievers import ExampleRetriever
from rag.testing import HashEmbedder
from tests.pipelines.hops import drive

NAMES = ("heron", "otter", "lynx", "beetle", "salamander")
EXAMPLES = [WorkedExample(f"Where does the {name} live?", name) for name in NAMES]


def looked_up(known: Sequence[WorkedExample] = EXAMPLES) -> ExampleRetriever:
    return ExampleRetriever(known, HashEmbedder(256))


def chosen(pool: ExamplePool, question: str, count: int) -> list[str]:
    return [each.answer for each in Engine().run(pool.program(question, count))]


def test_without_a_retriever_the_first_ones_are_taken() -> None:
    pool = ExamplePool(EXAMPLES)
    assert chosen(pool, "Who?", 2) == ["heron", "otter"]
    assert chosen(pool, "Who?", 9) == list(NAMES)
    assert chosen(pool, "Who?", 0) == []


def test_with_one_the_most_similar_are_and_the_best_comes_last() -> None:
    pool = ExamplePool(EXAMPLES, retriever=looked_up())
    assert chosen(pool, "Does the lynx live in the Jura?", 2)[-1] == "lynx"
    assert len(chosen(pool, "Does the lynx live in the Jura?", 9)) == len(NAMES)


@pytest.mark.parametrize("retriever", [None, looked_up()])
@given(
    place=st.sampled_from(range(len(NAMES))),
    count=st.integers(0, 6),
    spelled=st.sampled_from([str.upper, str.lower, lambda text: f"  {text}!?"]),
)
def test_an_example_is_never_shown_for_its_own_question(retriever, place, count, spelled) -> None:
    question = spelled(EXAMPLES[place].question)
    shown = chosen(ExamplePool(EXAMPLES, retriever=retriever), question, count)
    assert NAMES[place] not in shown
    assert len(shown) == len({*shown}) == min(count, len(NAMES) - 1)


def test_a_retriever_may_know_of_examples_that_the_pool_does_not_have() -> None:
    pool = ExamplePool(EXAMPLES[3:], retriever=looked_up())
    assert sorted(chosen(pool, "Where does the heron live?", 2)) == ["beetle", "salamander"]
    assert len(chosen(pool, "Where does the beetle live?", 2)) == 1


def test_nothing_is_searched_where_nothing_can_be_shown() -> None:
    own = WorkedExample("Who?", "me")
    for pool, count in (
        (ExamplePool(EXAMPLES, retriever=looked_up()), 0),
        (ExamplePool([own], retriever=looked_up()), 3),
    ):
        assert drive(pool.program("who", count)).operations == []


def test_the_search_is_its_own_and_metered_apart() -> None:
    retriever = looked_up()
    program = ExamplePool(EXAMPLES, retriever=retriever).program("Who?", 2)
    assert program.send(None) == Search("Who?", 3, retriever=retriever, stage="examples")
    program.close()


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 3])
def test_where_fewer_fit_the_less_useful_ones_go(count: int) -> None:
    shown = "abc"
    size = max(0, count)
    assert ExamplePool().kept(shown, count) == shown[:size], "prompts go on beginning alike"
    assert ExamplePool(retriever=looked_up()).kept(shown, count) == shown[3 - size :]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Who is it?", "who is  IT", True),
        ("Who is it?", "Who's it?", False),
        ("Straße", "STRASSE?", True),
        ("", "?!", True),
        ("1, 2", "12", False),
    ],
)
def test_questions_are_the_same_but_for_case_punctuation_and_space(
    one: str, other: str, same: bool
) -> None:
    assert same_question(one, other) == same

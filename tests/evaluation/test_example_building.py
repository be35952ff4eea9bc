from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.allocations import Allocation
from rag.core.errors import CallFailed, InputError
from rag.core.generation import Prompt
from rag.core.worked_examples import WorkedExample
from rag.evaluation import example_building
from rag.evaluation.datasets import Query
from rag.evaluation.example_building import build_examples, refuse_overlap
from rag.pipelines import IterDRAG
from rag.testing import ScriptedLLM
from tests.evaluation.capitals import QUERIES, RETRIEVER, reply


@pytest.fixture(autouse=True)
def batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_building, "_BATCH", 2)


def using(
    llm: ScriptedLLM, seen: list[Sequence[WorkedExample]] | None = None
) -> Callable[[Sequence[WorkedExample]], IterDRAG]:
    def pipeline(shown: Sequence[WorkedExample]) -> IterDRAG:
        if seen is not None:
            seen.append(tuple(shown))
        return IterDRAG(RETRIEVER, llm, allocation=Allocation(1, len(shown), 2), examples=shown)

    return pipeline


def wrong_about(*countries: str) -> Callable[[Prompt], str]:
    def script(prompt: Prompt) -> str:
        wrong = any(country in prompt.question for country in countries)
        return (
            reply(prompt).replace("Rome", "Milan").replace("Lima", "") if wrong else reply(prompt)
        )

    return script


def test_only_right_chains_keep_their_steps() -> None:
    built = build_examples(QUERIES, using(ScriptedLLM(wrong_about("Italy", "Peru"))), documents=3)
    assert [each.question for each in built.examples] == [
        QUERIES[row].text for row in (0, 2, 3, 5, 1, 4)
    ]
    assert built.failed == {}
    for example in built.examples[:4]:
        (step,) = example.steps
        assert step.question == example.question.replace("is the capital of", "governs")
        assert step.answer == example.answer
        assert [example.answer in hit.passage.text for hit in step.hits] == [True]
    assert all(example.steps == () for example in built.examples[4:])
    assert [example.answer for example in built.examples[4:]] == ["Rome", "Lima"]
    assert all(len(example.hits) == 3 for example in built.examples)


def test_an_answer_at_once_is_an_example_without_steps() -> None:
    llm = ScriptedLLM(lambda prompt: "So the final answer is: Paris")
    (example,) = build_examples(QUERIES[:1], using(llm)).examples
    assert (example.answer, example.steps) == ("Paris", ())


def test_right_chains_are_shown_to_the_questions_after_them() -> None:
    seen: list[Sequence[WorkedExample]] = []
    llm = ScriptedLLM(wrong_about("Italy"))
    built = build_examples(QUERIES, using(llm, seen), shown=2)
    france, spain = built.examples[:2]
    assert seen == [(), (france,), (france, spain)]
    for _, prompts in llm.calls:
        for prompt in prompts:
            shows = [each.question in "".join(prompt.contexts) for each in (france, spain)]
            batch = next(n for n, each in enumerate(QUERIES) if each.text in prompt.question) // 2
            assert shows == [batch > 0, batch > 1]


def test_no_passages_are_kept_where_none_are_wanted() -> None:
    built = build_examples(QUERIES[:2], using(ScriptedLLM(reply)), documents=0)
    assert [each.hits for each in built.examples] == [(), ()]
    assert all(each.steps for each in built.examples)


def test_a_question_that_fails_is_named_and_stays_without_steps() -> None:
    def failing(prompt: Prompt) -> str:
        if "Norway" in prompt.question:
            raise CallFailed("scripted", "no connection")
        return reply(prompt)

    built = build_examples(QUERIES[:4], using(ScriptedLLM(failing)))
    assert built.failed["N"] == "scripted: no connection"
    assert [bool(each.steps) for each in built.examples] == [True, True, False, False]


def test_what_is_wrong_with_the_program_is_raised() -> None:
    def broken(prompt: Prompt) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build_examples(QUERIES, using(ScriptedLLM(broken)))


def test_training_questions_need_accepted_answers() -> None:
    with pytest.raises(InputError, match="training question why has no accepted answer"):
        build_examples([*QUERIES, Query("why", "Why?")], using(ScriptedLLM([])))
    with pytest.raises(InputError, match="there are no training questions"):
        build_examples([], using(ScriptedLLM([])))


words = st.lists(st.text("abcäß7", min_size=1), min_size=1, max_size=5)
between = st.text(" \t\n.,?!-'\"", min_size=1)


@given(words, st.data())
def test_a_question_is_the_same_in_other_case_and_punctuation(
    words: list[str], data: st.DataObject
) -> None:
    def written() -> str:
        parts = [
            data.draw(between) + data.draw(st.sampled_from([w, w.upper(), w.title()]))
            for w in words
        ]
        return "".join(parts) + data.draw(between)

    example, query = WorkedExample(written(), "x"), Query("q7", written(), ("x",))
    with pytest.raises(InputError, match="is question q7 of the data set"):
        refuse_overlap([WorkedExample("another one", "x"), example], [*QUERIES, query])


def test_other_questions_do_not_overlap() -> None:
    examples = [WorkedExample(f"{each.text} And why?", "x") for each in QUERIES]
    refuse_overlap(examples, QUERIES)
    refuse_overlap([], QUERIES)

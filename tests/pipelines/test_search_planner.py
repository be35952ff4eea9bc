import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import BudgetExhausted, CallFailed, ContextOverflow, InputError, RagError
from rag.core.generation import Reply
from rag.core.operations import Generate
from rag.pipelines.search_planner import SearchPlan, SearchPlanner
from rag.testing import ScriptedLLM

QUESTION = "What does gold cost?"


def stated(search: bool = True, *queries: str, time_range: str = "any") -> str:
    return json.dumps({"needs_search": search, "queries": queries, "time_range": time_range})


def plan(
    *replies: str | RagError, question: str = QUESTION, **options: Any
) -> tuple[SearchPlan, list[Generate]]:
    """Feed a planner by hand; return its plan and what it asked for."""
    program = SearchPlanner(today=lambda: date(2026, 3, 31), **options).program(question)
    asked: list[Generate] = []
    waiting = iter(replies)
    result: Any = None
    while True:
        try:
            step = program.throw if isinstance(result, Exception) else program.send
            asked.append(step(result))
        except StopIteration as stop:
            assert next(waiting, None) is None, "the program asked for all replies"
            return stop.value, asked
        result = next(waiting)
        result = Reply(result) if isinstance(result, str) else result


def test_one_call_decides_and_words_the_search() -> None:
    found, (asked,) = plan(stated(True, "gold price", "gold ounce euro", time_range="day"))
    assert found == SearchPlan(True, ("gold price", "gold ounce euro"), "day")
    assert asked.stage == "plan"
    assert "Today is 2026-03-31." in asked.prompt.system
    assert "at most 3 queries" in asked.prompt.question
    assert asked.prompt.question.endswith(f"Message: {QUESTION}")
    schema = asked.sampling.schema
    assert schema["properties"]["needs_search"] == {"type": "boolean"}
    assert schema["properties"]["queries"]["maxItems"] == 3
    assert schema["properties"]["time_range"]["enum"] == ["day", "week", "month", "year", "any"]


def test_no_search_has_no_queries() -> None:
    assert plan(stated(False, "hello"), question="Hello!")[0] == SearchPlan(False)


def test_always_searches_and_only_the_words_are_the_models() -> None:
    found, (asked,) = plan(stated(False, "hello"), question="Hello!", mode="always")
    assert found == SearchPlan(True, ("hello",))
    assert asked.sampling.schema["properties"]["needs_search"] == {"enum": [True]}


def test_never_asks_no_model() -> None:
    assert plan(mode="never") == (SearchPlan(False), [])


def test_verbatim_asks_no_model_either() -> None:
    assert plan(mode="verbatim") == (SearchPlan(True, (QUESTION,)), [])


def test_a_reply_that_cannot_be_read_is_asked_for_once_more() -> None:
    found, (_, again) = plan("I would search for gold.", f"Here: {stated(True, 'gold')}")
    assert found == SearchPlan(True, ("gold",))
    assert "'I would search for gold.'" in again.prompt.question
    assert f"Message: {QUESTION}\n" in again.prompt.question


@pytest.mark.parametrize(
    "unreadable",
    [
        "",
        '{"needs_search": "maybe"}',
        '{"needs_search": 1}',
        '{"needs_search": true, "queries": 3}',
        "[]",
        "true",
    ],
)
def test_after_two_unreadable_replies_the_question_is_searched_for(unreadable: str) -> None:
    found, asked = plan(unreadable, unreadable)
    assert (found.search, found.queries, found.time_range) == (True, (QUESTION,), None)
    (note,) = found.notes
    assert note.startswith("the search was not planned, and the question itself is the query:")
    assert len(asked) == 2


@pytest.mark.parametrize(
    "error",
    [
        BudgetExhausted("calls", 0, 0, 1, "plan"),
        CallFailed("model", "no connection"),
        ContextOverflow("model", 9000, 8000),
    ],
)
def test_without_a_call_the_question_is_searched_for(error: RagError) -> None:
    found, _ = plan(error, question="What\ndoes gold cost?")
    assert (found.search, found.queries) == (True, (QUESTION,))
    assert str(error) in found.notes[0]
    assert plan("unreadable", error)[0].queries == (QUESTION,)


def test_years_of_another_time_are_left_out_and_noted() -> None:
    found, _ = plan(stated(True, "gold price 2023", "gold price 2026"))
    assert found.queries == ("gold price", "gold price 2026")
    assert found.notes == (
        "left out of the queries, since the question does not speak of it: 2023",
    )


def test_without_a_query_that_can_be_used_the_question_is_one() -> None:
    for reply in (stated(True), stated(True, "2023", '"?"'), '{"needs_search": true}'):
        found, _ = plan(reply)
        assert found.queries == (QUESTION,)
        assert "no query that can be used" in found.notes[-1]


def test_there_are_no_more_queries_than_wanted() -> None:
    found, _ = plan(stated(True, "2023", "a", "b", "c"), max_queries=2)
    assert found.queries == ("a", "b")


def test_a_query_alone_is_understood() -> None:
    assert plan('{"needs_search": true, "queries": "gold"}')[0].queries == ("gold",)


def test_a_time_range_that_cannot_be_right_is_left_out() -> None:
    question = "What did gold cost in 2010?"
    found, _ = plan(stated(True, "gold price 2010", time_range="year"), question=question)
    assert found.time_range is None
    assert found.notes == ("left out, since the question is about 2010: the last year",)
    now, _ = plan(stated(True, "gold", time_range="year"), question="Gold in 2026?")
    assert (now.time_range, now.notes) == ("year", ())
    assert plan(stated(True, "gold", time_range="decade"))[0].time_range is None


@given(st.text() | st.builds(stated, st.booleans(), st.text(), time_range=st.text()))
def test_whatever_the_model_writes_there_is_a_plan(reply: str) -> None:
    llm = ScriptedLLM(lambda _: reply)
    found = Engine(llm=llm).run(SearchPlanner().program(QUESTION))
    assert len(found.queries) in (range(1, 4) if found.search else (0,))


def test_a_backend_that_follows_no_schema_does_as_well() -> None:
    llm = ScriptedLLM(["Yes, search.", stated(True, "gold")])
    (outcome,) = Engine(llm=llm).run_many([SearchPlanner().program(QUESTION)])
    assert outcome.unwrap() == SearchPlan(True, ("gold",))
    assert outcome.usage.calls == 2


def test_many_questions_are_planned_in_one_batch_within_their_budgets() -> None:
    llm = ScriptedLLM(lambda _: stated(False))
    planner = SearchPlanner(llm)
    outcomes = Engine().run_many([planner.program("Hi!"), planner.program("Bye!")])
    assert [outcome.unwrap().search for outcome in outcomes] == [False, False]
    assert [len(prompts) for _, prompts in llm.calls] == [2]
    tight = Engine().run(planner.program("Hi!"), budget=Budget(tokens=5))
    assert tight.search
    assert "budget of 5 tokens exhausted" in tight.notes[0]


@pytest.mark.parametrize("options", [{"mode": "sometimes"}, {"max_queries": 0}])
def test_values_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SearchPlanner(**options)

from typing import Any

import pytest

from rag.core.allocations import Allocation
from rag.core.answers import Step
from rag.core.budgets import Budget
from rag.core.errors import BudgetExhausted
from rag.core.generation import Prompt
from rag.pipelines import IterRetGen
from rag.pipelines.drag import NO_ROOM
from rag.pipelines.extractive import UNREAD
from rag.testing import FixedRetriever, ScriptedLLM
from tests.pipelines.hops import (
    ALIEN,
    CAST,
    EXAMPLES,
    QUESTION,
    SCOTT,
    SHIELDS,
    drive,
    shelf,
    text_of,
    words,
)

CHAIN = ["Ridley Scott", "Leeds", "South Shields"]
FOUND = [[ALIEN, CAST], [ALIEN, SHIELDS], [SCOTT, SHIELDS]]


def iter_retgen(steps: int = 3, documents: int = 2, shots: int = 0, **backends: Any) -> IterRetGen:
    return IterRetGen(
        backends.get("retriever", shelf()),
        backends.get("llm", ScriptedLLM(["unused"])),
        allocation=Allocation(documents, shots, steps),
        examples=EXAMPLES,
    )


def test_each_iteration_searches_with_the_answer_of_the_one_before() -> None:
    driven = drive(iter_retgen().program(QUESTION), CHAIN, FOUND)
    assert driven.queries == [QUESTION, f"{QUESTION} Ridley Scott", f"{QUESTION} Leeds"]
    assert driven.answer.text == "South Shields [1]"
    assert driven.answer.hits == (SCOTT, SHIELDS)
    assert driven.answer.notes == ()
    assert driven.answer.steps == tuple(
        Step(query, reply, tuple(hits))
        for query, reply, hits in zip(driven.queries, CHAIN, FOUND, strict=True)
    )


def test_passages_take_the_place_of_the_earlier_ones() -> None:
    prompts = drive(iter_retgen(shots=1).program(QUESTION), CHAIN, FOUND).prompts
    shown = [[text_of(each) for each in prompt.contexts[1:]] for prompt in prompts]
    assert shown == [[each.passage.text for each in reversed(hits)] for hits in FOUND]
    assert len({prompt.contexts[0] for prompt in prompts}) == 1, "the example stays"
    assert {prompt.question for prompt in prompts} == {f"Question: {QUESTION}"}


def test_the_same_passages_end_it() -> None:
    driven = drive(iter_retgen(9).program(QUESTION), CHAIN[:2], [*FOUND[:2], FOUND[1]])
    assert driven.answer.text == "Leeds"
    assert len(driven.answer.steps) == 2


def test_without_documents_there_is_one_iteration() -> None:
    driven = drive(iter_retgen(documents=0).program(QUESTION), ["South Shields"])
    assert driven.queries == []
    assert len(driven.answer.steps) == 1


def first_reply(llm: ScriptedLLM) -> Prompt:
    return llm.calls[0][1][0]


def scripted() -> dict[str, Any]:
    """Backends for which each iteration finds and answers something else."""
    numbers = iter(range(100))
    queries = [QUESTION, *(f"{QUESTION} word {n}" for n in range(9))]
    results = {query: [f"This is passage {n}."] for n, query in enumerate(queries)}
    return {
        "llm": ScriptedLLM(lambda prompt: f"word {next(numbers)}"),
        "retriever": FixedRetriever(results=results),
    }


def test_it_ends_where_less_is_left_than_an_iteration_takes() -> None:
    backends = scripted()
    iter_retgen(1, 1, **backends).answer(QUESTION)
    each = words(first_reply(backends["llm"]))
    for budget, iterations in (
        (Budget(tokens=each), 1),
        (Budget(tokens=2 * each - 1), 1),
        (Budget(tokens=2 * each), 2),
        (Budget(calls=2), 2),
        (Budget(calls=9, tokens=9 * each), 4),
    ):
        answer = iter_retgen(4, 1, **scripted()).answer(QUESTION, budget=budget)
        assert answer.text.startswith(f"word {iterations - 1}")
        assert len(answer.steps) == answer.usage.calls == iterations
        ended = f"iterations ended early {NO_ROOM}"
        assert (answer.notes[-1] == ended) == (iterations < 4)


def test_an_iteration_that_cannot_be_read_leaves_the_answer_before_it() -> None:
    refused = BudgetExhausted("cost", 1, 1, 1, "read")
    answer = drive(iter_retgen().program(QUESTION), ["Ridley Scott", refused], FOUND).answer
    assert answer.text == "Ridley Scott [1]"
    assert answer.notes == (f"iterations ended early {NO_ROOM}",)
    assert len(answer.steps) == 1


@pytest.mark.parametrize("budget", [Budget(tokens=3), Budget(calls=0), Budget(seconds=0)])
def test_a_budget_for_nothing_is_no_failure(budget: Budget) -> None:
    answer = iter_retgen().answer(QUESTION, budget=budget)
    assert answer.usage.calls == 0
    assert UNREAD in answer.notes[-1]

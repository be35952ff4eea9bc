import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.allocation.escalation import Escalation
from rag.core.allocations import Allocation
from rag.core.answers import Answer
from rag.core.budgets import Allowance, Budget
from rag.core.errors import BatchError, CallFailed, InputError
from rag.core.events import Outcome
from rag.core.generation import Prompt, Reply, Sampling, TokenLogprob
from rag.core.usage import Usage
from rag.pipelines import DRAG, Escalate, ExtractiveRead, IterDRAG, metered
from rag.pipelines.escalate import _side_by_side
from rag.pipelines.iter_drag import FINAL, FOLLOW_UP, INTERMEDIATE
from rag.testing import FixedRetriever, ScriptedLLM

PASSAGES = [
    f"Tower {number} is {number * 10} m tall . " + "It is old . " * 10 for number in range(9)
]
SHELF = FixedRetriever(PASSAGES)
RUNGS = (Allocation(1), Allocation(3), Allocation(9))
LADDER = tuple(("DRAG", each) for each in RUNGS)


class Model(ScriptedLLM):
    """Finds its reply as likely as the reply says after a bar, and fails where it says so."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        results: list[Any] = []
        for reply in super().generate(prompts, sampling):
            text, _, sure = reply.text.partition("|")
            logprobs = (TokenLogprob(text, math.log(float(sure))),) if sure else ()
            failed = CallFailed(self.name, "down; start it") if text == "fail" else None
            results.append(failed or replace(reply, text=text, logprobs=logprobs))
        if any(isinstance(each, Exception) for each in results):
            raise BatchError(results)
        return results

    @property
    def read(self) -> list[Prompt]:
        return [prompt for _, prompts in self.calls for prompt in prompts]


def at_rungs(*replies: str) -> Callable[[Prompt], str]:
    """Reply by the rung: the passages of the prompt say which it is, or that some are left out."""
    known = {rung.documents: reply for rung, reply in zip(RUNGS, replies, strict=True)}
    return lambda prompt: known.get(len(prompt.contexts), "cut|0.9")


def ladder(
    reply: Callable[[Prompt], str],
    thresholds: tuple[float | None, ...] = (0.5, 0.5),
    agreement: bool = False,
) -> tuple[Escalate, Model]:
    llm = Model(reply)
    rungs = [DRAG(SHELF, llm, allocation=each) for each in RUNGS]
    return Escalate(rungs, Escalation(LADDER, thresholds, agreement)), llm


def documents(llm: Model) -> list[int]:
    """Return how many passages each prompt had."""
    return [len(prompt.contexts) for prompt in llm.read]


def words(answer: Answer) -> str:
    return answer.text.split(" [")[0]


def own_notes(answer: Answer) -> list[str]:
    """Return the notes that are not of rungs whose answer did not count."""
    return [note for note in answer.notes if not note.startswith("rung")]


QUESTION = "How tall is tower 1 ?"


@pytest.mark.parametrize(
    ("replies", "thresholds", "agreement", "read", "rung"),
    [
        (("10 m|0.6", "20 m|0.6", "30 m|0.6"), (0.5, 0.5), False, [1], 1),
        (("10 m|0.4", "20 m|0.6", "30 m|0.6"), (0.5, 0.5), False, [1, 3], 2),
        (("10 m|0.4", "20 m|0.4", "30 m|0.4"), (0.5, 0.5), False, [1, 3, 9], 3),
        (("10 m|0.4", "10 m|0.4", "30 m|0.4"), (0.5, 0.5), True, [1, 3], 2),
        (("10 m|0.4", "20 m|0.4", "20 m|0.4"), (0.5, 0.5), True, [1, 3, 9], 3),
        (("10 m", "10 m", "30 m"), (0.5, 0.5), True, [1, 3], 2),
        (("10 m", "10 m", "30 m"), (0.5, 0.5), False, [1, 3, 9], 3),
        (("10 m|0.9", "20 m|0.9", "30 m|0.9"), (None, 0.5), False, [1, 3], 2),
        (("10 m|0.9", "20 m|0.9", "30 m|0.9"), (None, None), True, [1, 3, 9], 3),
    ],
)
def test_a_question_climbs_until_its_answer_is_sure(
    replies: tuple[str, ...],
    thresholds: tuple[float | None, ...],
    agreement: bool,
    read: list[int],
    rung: int,
) -> None:
    pipeline, llm = ladder(at_rungs(*replies), thresholds, agreement)
    alone = pipeline.answer(QUESTION)
    assert documents(llm) == read
    assert words(alone) == replies[rung - 1].split("|")[0]
    assert alone.notes[-1] == f"answered at rung {rung} of 3"
    (among_all,) = pipeline.answer_all([QUESTION], Budget())
    for answer in (alone, among_all):
        assert answer.usage.calls == answer.usage.searches == rung
        assert answer.usage.input_tokens == sum(llm.count_tokens(llm.read[:rung]))
        assert dict(answer.stages)["read"].calls == rung
    assert replace(among_all, usage=alone.usage, stages=alone.stages) == alone


def test_the_rungs_have_to_match() -> None:
    llm = Model(lambda _: "")
    escalation = Escalation(LADDER[:2], (0.5,), agreement=False)
    one, other = DRAG(SHELF, llm), DRAG(SHELF, Model(lambda _: ""))
    with pytest.raises(InputError, match="1 pipelines but 2 rungs"):
        Escalate([one], escalation)
    with pytest.raises(InputError, match="several models"):
        Escalate([one, other], escalation)
    with pytest.raises(InputError, match="several models"):
        Escalate([ExtractiveRead(SHELF), one], escalation)
    with pytest.raises(InputError, match="several retrievers"):
        Escalate([one, DRAG(FixedRetriever(), llm)], escalation)


def test_a_failure_on_the_first_rung_is_the_question_s() -> None:
    def reply(prompt: Prompt) -> str:
        return "fail" if "2" in prompt.question else "10 m|0.9"

    pipeline, _ = ladder(reply)
    with pytest.raises(CallFailed, match="down"):
        pipeline.answer("How tall is tower 2 ?")
    with pytest.raises(BatchError) as said:
        pipeline.answer_all([QUESTION, "How tall is tower 2 ?", QUESTION], Budget())
    first, second, third = said.value.results
    assert isinstance(second, CallFailed)
    assert first == replace(third, usage=first.usage, stages=first.stages)
    assert words(first) == "10 m"


def test_a_failure_on_a_later_rung_leaves_the_answer_before_it() -> None:
    pipeline, llm = ladder(at_rungs("10 m|0.1", "fail", "30 m|0.9"))
    (among_all,) = pipeline.answer_all([QUESTION], Budget())
    for answer in (pipeline.answer(QUESTION), among_all):
        assert words(answer) == "10 m"
        assert answer.usage.calls == 2
        assert answer.notes[-2:] == (
            "answered at rung 1 of 3",
            "rung 2 fell short: scripted: down; start it",
        )
    assert documents(llm) == [1, 3, 1, 3]


def test_what_is_no_failure_of_a_backend_is_not_hidden() -> None:
    def reply(prompt: Prompt) -> str:
        return "10 m|0.1" if len(prompt.contexts) == 1 else {}["bug"]

    pipeline, _ = ladder(reply)
    with pytest.raises(KeyError):
        pipeline.answer(QUESTION)
    with pytest.raises(BatchError, match="bug"):
        pipeline.answer_all([QUESTION], Budget())


def test_an_answer_that_lacks_what_the_budget_left_out_does_not_replace_a_whole_one() -> None:
    pipeline, llm = ladder(at_rungs("10 m|0.1", "20 m|0.1", "30 m|0.1"))
    whole = pipeline.answer(QUESTION).usage.input_tokens
    last = llm.count_tokens(llm.read)[-1]
    assert pipeline.answer(QUESTION, budget=Budget(tokens=whole)).notes[-1].endswith("rung 3 of 3")
    for less, reason in (
        (1, "for lack of room: 1 of 9"),
        (last, "9 of 9; no model read the passages: budget of"),
    ):
        for answer in (
            pipeline.answer(QUESTION, budget=Budget(tokens=whole - less)),
            *pipeline.answer_all([QUESTION], Budget(tokens=whole - less)),
        ):
            assert words(answer) == "20 m"
            assert answer.notes[-2] == "answered at rung 2 of 3"
            assert answer.notes[-1].startswith("rung 3 fell short: passages left out")
            assert reason in answer.notes[-1]
            assert answer.usage.input_tokens <= whole - less


def test_a_first_answer_that_lacks_something_is_the_last() -> None:
    """The dearer rungs would lack more."""
    pipeline, llm = ladder(at_rungs("10 m|0.1", "20 m|0.1", "30 m|0.1"))
    answer = pipeline.answer(QUESTION, budget=Budget(tokens=10))
    assert "no model read the passages" in answer.notes[-2]
    assert answer.notes[-1] == "answered at rung 1 of 3"
    assert llm.read == []
    *_, outcome = pipeline.stream(QUESTION, budget=Budget(tokens=10))
    assert isinstance(outcome, Outcome)
    assert metered(outcome).notes == answer.notes


def test_calls_and_seconds_that_are_over_leave_the_answer_before() -> None:
    pipeline, _ = ladder(at_rungs("10 m|0.1", "20 m|0.1", "30 m|0.1"))
    answer = pipeline.answer(QUESTION, budget=Budget(calls=1))
    assert words(answer) == "10 m"
    assert "rung 2 fell short: no model read the passages: budget of 1 calls" in answer.notes[-1]
    (answer,) = pipeline.answer_all([QUESTION], Budget(seconds=0))
    assert "no model read the passages: budget of 0 seconds" in answer.notes[-2]


QUESTIONS = [f"How tall is tower {number} ?" for number in range(1, 9)]


def number_of(prompt: Prompt) -> int:
    return next(place for place, each in enumerate(QUESTIONS, 1) if each in prompt.question)


def by_sureness(*sure: float) -> Callable[[Prompt], str]:
    """At the first rung the questions are as sure as stated; at the others they stay unsure."""

    def reply(prompt: Prompt) -> str:
        number = number_of(prompt)
        likely = sure[number - 1] if len(prompt.contexts) == 1 else 0.01
        return f"{number * 10 + len(prompt.contexts)} m|{likely}"

    return reply


def test_the_least_sure_questions_get_what_the_others_leave() -> None:
    pipeline, llm = ladder(by_sureness(0.4, 0.1, 0.9, 0.2))
    questions = QUESTIONS[:4]
    cheap = sum(
        answer.usage.input_tokens for answer in pipeline.answer_all(questions[2:3], Budget())
    )
    dear = max(llm.count_tokens(prompts(RUNGS[1])))
    llm.calls.clear()
    answers = pipeline.answer_all(questions, Budget(tokens=4 * cheap + 2 * dear))
    assert [number_of(prompt) for prompt in llm.read[4:6]] == [2, 4]
    assert [words(answer) for answer in answers] == ["11 m", "23 m", "31 m", "43 m"]
    assert "rung 2 fell short" in answers[0].notes[-1]
    assert answers[2].notes[-1] == "answered at rung 1 of 3"


def prompts(rung: Allocation) -> list[Prompt]:
    """Return what the model reads for all questions on a rung."""
    llm = Model(lambda _: "10 m")
    DRAG(SHELF, llm, allocation=rung).answer_many(QUESTIONS)
    return llm.read


def test_questions_do_not_run_out_of_budget_half_way_side_by_side() -> None:
    """A few that use sub-questions would each get some of them, and none a whole answer."""

    def reply(prompt: Prompt) -> str:
        number = number_of(prompt)
        if FOLLOW_UP not in prompt.system:
            return f"{number} m|0.{number}"
        if prompt.reply_prefix.endswith((INTERMEDIATE, FINAL)):
            return f"{number * 10} m|0.9"
        asked = prompt.reply_prefix.count(FOLLOW_UP)
        return f"{FOLLOW_UP} What is {asked} ?" if asked < 3 else f"{FINAL} {number * 10} m|0.9"

    llm = Model(reply)
    rungs = [
        DRAG(SHELF, llm, allocation=Allocation(1)),
        IterDRAG(SHELF, llm, allocation=Allocation(1, 0, 4)),
    ]
    escalation = Escalation((LADDER[0], ("IterDRAG", Allocation(1, 0, 4))), (0.9,), agreement=False)
    pipeline = Escalate(rungs, escalation)
    each = [answer.usage.input_tokens for answer in rungs[1].answer_many(QUESTIONS)]
    cheap = sum(answer.usage.input_tokens for answer in rungs[0].answer_many(QUESTIONS))
    # What they take at most, and what the pipeline keeps back for a last line.
    budget = Budget(tokens=cheap + 4 * max(each) + 200)
    answers = pipeline.answer_all(QUESTIONS, budget)
    reached = [answer.notes[-1] == "answered at rung 2 of 2" for answer in answers]
    assert reached == [True] * 4 + [False] * 4
    assert sum(answer.usage.input_tokens for answer in answers) <= (budget.tokens or 0)


def test_as_many_side_by_side_as_will_do() -> None:
    used = [Usage(input_tokens=40, calls=2, cost=0.5), Usage(input_tokens=100, calls=1, cost=0.1)]
    assert _side_by_side(Allowance(), used) == 16
    assert _side_by_side(Allowance(tokens=350, seconds=9), used) == 3
    assert _side_by_side(Allowance(tokens=350, calls=5), used) == 2
    assert _side_by_side(Allowance(tokens=350, cost=0.7), used) == 1
    assert _side_by_side(Allowance(tokens=99), used) == 1
    assert _side_by_side(Allowance(tokens=10**6), used) == 16
    assert _side_by_side(Allowance(tokens=10**6), []) == 1
    assert _side_by_side(Allowance(tokens=10**6), [Usage()]) == 16


sureness = st.lists(st.sampled_from([0.1, 0.3, 0.6, 0.9]), min_size=1, max_size=8)
budgets = st.builds(
    Budget,
    tokens=st.none() | st.integers(0, 3000),
    calls=st.none() | st.integers(0, 20),
    cost=st.none() | st.floats(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(sureness, budgets, st.booleans())
def test_all_together_stay_within_the_budget_and_usages_add_up(
    sure: list[float], budget: Budget, agreement: bool
) -> None:
    pipeline, llm = ladder(by_sureness(*sure), agreement=agreement)
    answers = pipeline.answer_all(QUESTIONS[: len(sure)], budget)
    used = sum((answer.usage for answer in answers), Usage())
    assert used.input_tokens == sum(llm.count_tokens(llm.read))
    assert used.calls == len(llm.read)
    assert budget.tokens is None or used.input_tokens <= budget.tokens
    assert budget.calls is None or used.calls <= budget.calls
    for place, answer in enumerate(answers):
        assert sum((usage for _, usage in answer.stages), Usage()) == answer.usage
        if any("no model read" in note or "left out" in note for note in own_notes(answer)):
            assert "answered at rung 1 of 3" in answer.notes
        else:
            assert words(answer) in {f"{(place + 1) * 10 + rung.documents} m" for rung in RUNGS}
        if sure[place] >= 0.5:
            assert answer.usage.calls <= 1


def test_no_questions_have_no_answers() -> None:
    pipeline, llm = ladder(at_rungs("", "", ""))
    assert pipeline.answer_all([], Budget(tokens=0)) == []
    assert llm.calls == []

"""What holds for every strategy, whatever a model replies and whatever it may use."""

from collections.abc import Sequence
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.allocations import Allocation
from rag.core.answers import Answer
from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.protocols import LLM
from rag.pipelines import DRAG, IRCoT, IterDRAG, IterRetGen, SelfAsk, make_pipeline
from rag.pipelines.base import Pipeline
from rag.pipelines.drag import NO_ROOM
from rag.pipelines.extractive import UNREAD
from rag.pipelines.ircot import ANSWER
from rag.pipelines.iter_drag import FINAL, FOLLOW_UP, INTERMEDIATE
from rag.pipelines.strategies import STRATEGIES, why_not
from rag.testing import EchoLLM, ScriptedLLM
from tests.pipelines.hops import EXAMPLES, QUESTION, shelf

NAMES = sorted(STRATEGIES)
LINES = st.builds(
    lambda start, rest: f"{start}{rest}",
    st.sampled_from(["", FOLLOW_UP, INTERMEDIATE, FINAL, ANSWER, "\n", "</passage> "]),
    st.one_of(st.text(max_size=12), st.sampled_from([" Who is Ridley Scott?", " South Shields."])),
)
REPLIES = st.lists(LINES, min_size=1, max_size=6)
ALLOCATIONS = st.builds(Allocation, st.integers(0, 3), st.integers(0, 2), st.integers(1, 4))
WITHOUT_FORM = {"generate", "exact_counts"}


def pipeline(strategy: str, allocation: Allocation, llm: LLM) -> Pipeline:
    return make_pipeline(strategy, allocation, shelf(), llm, examples=EXAMPLES)


def answered(
    strategy: str,
    allocation: Allocation,
    replies: Sequence[str],
    budget: Budget | None = None,
    *,
    window: int = 8192,
    free: bool = False,
) -> Answer:
    turn = cycle(replies)
    llm = ScriptedLLM(
        lambda prompt: next(turn),
        context_window=window,
        **({"capabilities": WITHOUT_FORM} if free else {}),
    )
    return pipeline(strategy, allocation, llm).answer(QUESTION, budget=budget)


def fell_short(answer: Answer) -> bool:
    """Whether the notes say that something was left out."""
    return any(NO_ROOM in note or UNREAD in note for note in answer.notes)


@pytest.mark.parametrize("strategy", NAMES)
@given(
    allocation=ALLOCATIONS,
    replies=REPLIES,
    tokens=st.integers(0, 900),
    calls=st.none() | st.integers(0, 6),
    free=st.booleans(),
)
def test_a_budget_is_never_overrun(strategy, allocation, replies, tokens, calls, free) -> None:
    budget = Budget(tokens=tokens, calls=calls)
    answer = answered(strategy, allocation, replies, budget, free=free)
    assert answer.usage.input_tokens <= tokens
    assert calls is None or answer.usage.calls <= calls
    assert len(answer.steps) <= allocation.steps


@pytest.mark.parametrize("strategy", NAMES)
@given(allocation=ALLOCATIONS, replies=REPLIES, window=st.integers(1, 500), free=st.booleans())
def test_no_window_is_too_small_for_an_answer(strategy, allocation, replies, window, free) -> None:
    whole = answered(strategy, allocation, replies, free=free)
    answer = answered(strategy, allocation, replies, window=window, free=free)
    if not fell_short(answer):
        assert (answer.text, answer.steps, answer.usage.input_tokens) == (
            whole.text,
            whole.steps,
            whole.usage.input_tokens,
        )


@pytest.mark.parametrize("strategy", NAMES)
@given(allocation=ALLOCATIONS, replies=REPLIES, tokens=st.integers(0, 900))
def test_what_a_budget_leaves_out_is_noted(strategy, allocation, replies, tokens) -> None:
    whole = answered(strategy, allocation, replies)
    answer = answered(strategy, allocation, replies, Budget(tokens=tokens))
    if not fell_short(answer):
        assert answer.usage.input_tokens == whole.usage.input_tokens
        assert (answer.text, answer.notes, answer.steps) == (whole.text, whole.notes, whole.steps)


@pytest.mark.parametrize("strategy", NAMES)
def test_where_the_question_fits_a_budget_the_model_answers_it(strategy: str) -> None:
    def reply(budget: Budget | None) -> Answer:
        replies = [f"{FOLLOW_UP} Who is Ridley Scott?", "Leeds"]
        return answered(strategy, Allocation(2, 1, 3), replies, budget)

    read = [reply(Budget(tokens=tokens)).usage.calls > 0 for tokens in range(0, 200, 5)]
    assert read == sorted(read), "with more to spend, there is not less of an answer"
    assert not read[0]
    assert read[-1]
    for calls in (1, 2, 3):
        assert not any(UNREAD in note for note in reply(Budget(calls=calls)).notes)


def test_names_are_those_of_the_classes() -> None:
    classes = {"DRAG": DRAG, "IterDRAG": IterDRAG, "Self-Ask": SelfAsk}
    assert classes | {"IRCoT": IRCoT, "Iter-RetGen": IterRetGen} == STRATEGIES


@pytest.mark.parametrize(
    ("strategy", "allocation", "reason"),
    [
        ("DRAG", Allocation(1, 2), ""),
        ("DRAG", Allocation(1, 0, 2), "leave n out"),
        ("Iter-RetGen", Allocation(1, 2, 3), ""),
        ("IRCoT", Allocation(1, 1, 3), ""),
        ("IRCoT", Allocation(1, 2, 3), "1 worked examples with steps"),
        ("IterDRAG", Allocation(3, 1, 2), "worked examples have 2 passages"),
        ("ReAct", Allocation(1), "the strategies are"),
    ],
)
def test_what_cannot_be_is_said(strategy: str, allocation: Allocation, reason: str) -> None:
    problem = why_not(strategy, allocation, EXAMPLES)
    assert bool(problem) == bool(reason)
    assert reason in problem


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no strategy 'ReAct'; there are .*Iter-RetGen"):
        make_pipeline("ReAct", Allocation(1), shelf(), EchoLLM())


@pytest.mark.parametrize("strategy", NAMES)
def test_prompts_of_a_folder_replace_the_shipped_ones(strategy: str, tmp_path) -> None:
    for name in ("short_answer", "follow_up", "reasoning_step"):
        (tmp_path / f"{name}.toml").write_text('description = "d"\nquestion = "MINE {question}"')
    llm = ScriptedLLM(lambda prompt: f"{FINAL} x")
    made = make_pipeline(strategy, Allocation(1), shelf(), llm, prompts=tmp_path)
    made.answer(QUESTION)
    assert llm.calls
    assert {each.path.parent for each in made.templates} == {tmp_path}
    assert all(prompt.question.startswith("MINE") for _, (prompt,) in llm.calls)

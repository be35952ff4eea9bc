import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag.core.async_engine import AsyncEngine
from rag.core.budgets import Allowance, Budget
from rag.core.engine import Engine
from rag.core.errors import BudgetExhausted, ContextOverflow, ProgramError
from rag.core.events import Finished, Outcome, Started, TextDelta
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.operations import CountTokens, Generate, Limited, Remaining, together
from rag.core.search_operations import Search
from rag.core.usage import Prices, Usage
from tests.core.backends import WordLLM, WordRetriever
from tests.core.programs import program, shapes


def engine(llm: WordLLM | None = None, **options: Any) -> Engine:
    return Engine(llm=llm or WordLLM(), retriever=WordRetriever(), **options)


async def ask(text: str, **options: Any) -> str:
    return (await Generate(Prompt(text), **options)).text


def test_operations_of_many_programs_run_as_one_batch() -> None:
    llm = WordLLM()
    outcomes = engine(llm).run_many([ask(f"q{i}") for i in range(50)])
    assert [o.unwrap() for o in outcomes] == [f"Q{i}" for i in range(50)]
    assert [len(batch) for batch in llm.batches] == [50]


def test_branches_of_one_program_run_as_one_batch_and_keep_their_order() -> None:
    async def branches() -> tuple[str, ...]:
        return await together(*(ask(letter) for letter in "abc"))

    llm = WordLLM()
    assert engine(llm).run(branches()) == ("A", "B", "C")
    assert llm.batches == [["a", "b", "c"]]


def test_only_like_operations_share_a_batch() -> None:
    llm, other = WordLLM(), WordLLM()
    outcomes = engine(llm).run_many(
        [ask("a"), ask("b", sampling=Sampling(max_tokens=1)), ask("c", llm=other), ask("d")]
    )
    assert [o.unwrap() for o in outcomes] == ["A", "B", "C", "D"]
    assert sorted(map(sorted, llm.batches)) == [["a", "d"], ["b"]]
    assert other.batches == [["c"]]


def test_no_more_programs_live_at_once_than_allowed() -> None:
    llm = WordLLM()
    outcomes = engine(llm, max_live=4).run_many([ask(str(i)) for i in range(10)])
    assert [o.unwrap() for o in outcomes] == [str(i) for i in range(10)]
    assert max(map(len, llm.batches)) == 4


@settings(deadline=None)
@given(st.lists(shapes, min_size=1, max_size=5))
@example(
    [
        ("generate", 0),
        (
            "together",
            [
                ("score", 0),
                ("generate", 0),
                ("together", [("generate", 0), ("generate", 6), ("score", 6)]),
            ],
        ),
    ]
).via("which branch met the budget depended on the other program")
def test_programs_run_together_end_as_they_do_alone(drawn: list[Any]) -> None:
    def outcome(outcomes: list[Outcome[Any]]) -> list[Any]:
        # Seconds are measured, the rest is computed.
        return [
            (o.value, str(o.error), {k: _timeless(u) for k, u in o.stages.items()})
            for o in outcomes
        ]

    budget = Budget(tokens=20)
    programs = [(shape, f"p{i}") for i, shape in enumerate(drawn)]
    many = engine().run_many([program(*each) for each in programs], budget=budget)
    alone = [engine().run_many([program(*each)], budget=budget)[0] for each in programs]
    assert outcome(many) == outcome(alone)


@settings(deadline=None)
@given(st.lists(shapes, min_size=1, max_size=5), st.integers(0, 40), st.integers(0, 6))
def test_no_call_is_made_past_a_budget(drawn: list[Any], tokens: int, calls: int) -> None:
    llm = WordLLM()
    programs = [program(shape, f"p{i}") for i, shape in enumerate(drawn)]
    outcomes = engine(llm).run_many(programs, budget=Budget(tokens=tokens, calls=calls))
    made = Counter(question.split()[0] for question in llm.read)
    for i, outcome in enumerate(outcomes):
        assert made[f"p{i}"] == outcome.usage.calls <= calls
        assert outcome.usage.input_tokens <= tokens
        assert outcome.error is None or isinstance(outcome.error, BudgetExhausted)


@settings(deadline=None, max_examples=50)
@given(st.lists(shapes, min_size=1, max_size=4), st.integers(0, 60), st.data())
def test_no_interleaving_of_servers_passes_a_budget(
    drawn: list[Any], tokens: int, data: st.DataObject
) -> None:
    shared = data.draw(st.integers(0, 100), label="budget of all")
    llm = WordLLM()
    served = AsyncEngine(llm=llm, retriever=WordRetriever(), budget=Budget(tokens=shared))

    async def one(i: int, shape: Any) -> Any:
        await asyncio.sleep(data.draw(st.sampled_from([0, 0.001]), label=f"delay {i}"))
        return await served.run(program(shape, f"p{i}"), budget=Budget(tokens=tokens))

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(
            *(one(i, shape) for i, shape in enumerate(drawn)), return_exceptions=True
        )

    for result in asyncio.run(all_of_them()):
        assert not isinstance(result, Exception) or isinstance(result, BudgetExhausted)
    assert served.usage.calls == len(llm.read)
    assert served.usage.input_tokens <= shared


@settings(deadline=None)
@given(st.lists(shapes, min_size=2, max_size=5))
def test_usage_lands_on_the_question_that_asked(drawn: list[Any]) -> None:
    llm, retriever = WordLLM(), WordRetriever()
    running = Engine(llm=llm, retriever=retriever)
    outcomes = running.run_many([program(shape, f"p{i}") for i, shape in enumerate(drawn)])
    searched = [query for batch in retriever.batches for query in batch]
    for i, outcome in enumerate(outcomes):
        assert outcome.usage.calls == sum(q.split()[0] == f"p{i}" for q in llm.read)
        assert outcome.usage.searches == sum(q.split()[0] == f"p{i}" for q in searched)
        assert _timeless(outcome.usage) == _timeless(sum(outcome.stages.values(), Usage()))
    assert _timeless(running.usage) == _timeless(sum((o.usage for o in outcomes), Usage()))


def test_an_error_in_one_program_leaves_the_others_untouched() -> None:
    def reply(question: str) -> str:
        if question == "bad":
            raise ValueError("no")
        return question

    async def broken() -> str:
        await Search("x")
        raise KeyError("mine")

    outcomes = engine(WordLLM(reply)).run_many([ask("a"), ask("bad"), broken(), ask("b")])
    assert [o.value for o in outcomes] == ["a", None, None, "b"]
    assert isinstance(outcomes[1].error, ValueError)
    assert isinstance(outcomes[2].error, KeyError)
    assert outcomes[1].usage.calls == 1, "a call that failed was made all the same"


def test_every_member_ends_before_the_first_error_is_raised() -> None:
    async def fail(name: str) -> str:
        await Search(name)
        raise ValueError(name)

    async def all_three() -> None:
        await together(ask("a"), fail("first"), fail("second"))

    llm = WordLLM()
    outcome = engine(llm).run_many([all_three()])[0]
    assert str(outcome.error) == "first"
    assert llm.read == ["a"]


def test_an_error_that_is_returned_is_a_value() -> None:
    async def member() -> Exception:
        return ValueError("kept")

    async def program() -> tuple[Exception, ...]:
        one = await Limited(member(), Budget())
        return (one, *await together(member(), member()))

    assert [str(each) for each in Engine().run(program())] == ["kept"] * 3


def test_a_program_that_meets_its_budget_can_still_answer() -> None:
    async def keep_asking() -> list[str]:
        replies: list[str] = []
        try:
            while True:
                replies.append(await ask("two words"))
        except BudgetExhausted:
            return replies

    outcome = engine().run_many([keep_asking()], budget=Budget(tokens=7))[0]
    assert outcome.unwrap() == ["TWO WORDS"] * 3
    assert outcome.usage.effective_context_length == 6


def test_a_budget_within_a_budget() -> None:
    async def nested() -> tuple[Allowance, Allowance]:
        inner = await Limited(Remaining(), Budget(tokens=5))
        with pytest.raises(BudgetExhausted, match="budget of 1 tokens"):
            await Limited(ask("two words"), Budget(tokens=1))
        await ask("two words")
        return inner, await Remaining()

    inner, after = engine().run(nested(), budget=Budget(tokens=10))
    assert inner.tokens == 5
    assert after == Allowance(tokens=8, context_window=10_000)


def test_a_budget_of_all_questions_together() -> None:
    running = engine(budget=Budget(calls=3))
    outcomes = running.run_many([ask(str(i)) for i in range(5)])
    assert [o.error is None for o in outcomes] == [True, True, True, False, False]
    with pytest.raises(BudgetExhausted):
        running.run(ask("late"))


def test_money_is_metered_and_limited() -> None:
    llm = WordLLM(prices=Prices(input=1e6, output=1e6))
    one_word = Sampling(max_tokens=1)
    outcome = engine(llm).run_many([ask("two words", sampling=one_word)])[0]
    assert outcome.usage.cost == 4.0, "two words read, two written"
    with pytest.raises(BudgetExhausted, match=r"2\.5 cost"):
        engine(llm).run(ask("two words", sampling=one_word), budget=Budget(cost=2.5))


def test_what_a_cache_answers_costs_nothing() -> None:
    class KeepingLLM(WordLLM):
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
            replies = super().generate(prompts, sampling)
            return [replace(each, cached_tokens=1, from_cache=True) for each in replies]

    engine = Engine(llm=KeepingLLM(prices=Prices(input=1e6, output=1e6)))
    engine.run(ask("a"))
    assert (engine.usage.cost, engine.usage.cache_hits, engine.usage.calls) == (0, 1, 1)


def test_seconds_are_shared_out_among_a_batch() -> None:
    ticks = iter(range(1000))
    timed = engine(clock=lambda: float(next(ticks)))
    outcomes = timed.run_many([ask(str(i)) for i in range(4)])
    assert [o.usage.seconds for o in outcomes] == [0.25] * 4


def test_counting_tokens_uses_nothing_up() -> None:
    async def count() -> int:
        return await CountTokens(Prompt("one two three"))

    outcome = engine().run_many([count()], budget=Budget(tokens=0, calls=0))[0]
    assert outcome.unwrap() == 3
    assert outcome.usage.calls == 0


def test_a_refused_call_is_no_call() -> None:
    class Narrow(WordLLM):
        def generate(self, prompts: Any, sampling: Sampling) -> list[Reply]:
            raise ContextOverflow("narrow", 20, 10)

    outcome = engine(Narrow()).run_many([ask("long")])[0]
    assert isinstance(outcome.error, ContextOverflow)
    assert outcome.usage.calls == 0


def test_awaiting_anything_else_is_an_error_that_says_so() -> None:
    async def impatient() -> None:
        await asyncio.sleep(0)

    with pytest.raises(ProgramError, match="await only operations of"):
        engine().run(impatient())


def test_an_operation_without_a_backend_says_what_is_missing() -> None:
    with pytest.raises(ProgramError, match="Generate needs a backend: give the engine its llm"):
        Engine().run(ask("a"))


def test_a_backend_that_loses_results_is_found_out() -> None:
    class Lossy(WordLLM):
        def generate(self, prompts: Any, sampling: Sampling) -> list[Reply]:
            return super().generate(prompts, sampling)[:-1]

    outcomes = engine(Lossy()).run_many([ask("a"), ask("b")])
    assert all("returned 1 results, not 2" in str(o.error) for o in outcomes)


def test_a_stream_tells_all_that_happens_in_order() -> None:
    async def search_and_ask() -> str:
        await Search("q")
        return await ask("hi")

    events = list(engine().stream(search_and_ask()))
    assert [type(event) for event in events] == [
        *(Started, Finished),
        *(Started, TextDelta, TextDelta, Finished),
        Outcome,
    ]
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "HI"
    assert events[-1].unwrap() == "HI"


def test_closing_a_stream_stops_further_calls() -> None:
    ended = []

    async def endless() -> None:
        try:
            while True:
                await ask("again")
        finally:
            ended.append(True)

    llm = WordLLM()
    running = engine(llm, budget=Budget(tokens=100))
    events = running.stream(endless())
    next(event for event in events if isinstance(event, TextDelta))
    events.close()
    assert (ended, len(llm.read)) == ([True], 1)
    assert running.usage.input_tokens == 1, "an interrupted call counts as promised"
    assert running.meter.allowance().tokens == 99


def test_an_interrupt_closes_every_program() -> None:
    class Interrupted(WordLLM):
        def generate(self, prompts: Any, sampling: Sampling) -> list[Reply]:
            raise KeyboardInterrupt

    ended = []

    async def watched(i: int) -> None:
        try:
            await ask(str(i))
        finally:
            ended.append(i)

    with pytest.raises(KeyboardInterrupt):
        engine(Interrupted(), max_live=2).run_many([watched(i) for i in range(3)])
    assert sorted(ended) == [0, 1]


def test_a_trace_is_kept_on_request() -> None:
    outcome = engine().run_many([ask("a")], trace=True)[0]
    (finished,) = outcome.trace
    assert finished.op == Generate(Prompt("a"))
    assert finished.result == Reply("A", input_tokens=1, output_tokens=1)
    assert finished.usage.calls == 1


def _timeless(usage: Usage) -> tuple[int, ...]:
    return (usage.input_tokens, usage.output_tokens, usage.calls, usage.searches)

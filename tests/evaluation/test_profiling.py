from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rag.allocation.grid import parse_grid
from rag.allocation.observations import Cell
from rag.allocation.store import ObservationStore
from rag.core.allocations import Allocation
from rag.core.budgets import Budget
from rag.core.errors import CallFailed, InputError
from rag.core.generation import Prompt, Sampling
from rag.core.templates import load_template
from rag.core.usage import Prices
from rag.evaluation import profiling
from rag.evaluation.answer_metrics import ANSWER_METRICS
from rag.evaluation.datasets import Query
from rag.evaluation.profiling import profile
from rag.models.cached_llm import CachedLLM
from rag.pipelines import Pipeline
from rag.pipelines.strategies import make_pipeline
from rag.testing import ScriptedLLM
from tests.evaluation.capitals import QUERIES, RETRIEVER, reply

GRID = parse_grid("DRAG k=0,2; IterDRAG k=0,1 n=2")
ZERO_SHOT = ("DRAG", Allocation(0))


@pytest.fixture(autouse=True)
def batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "_BATCH", 2)


@pytest.fixture
def store(tmp_path: Path) -> ObservationStore:
    return ObservationStore(tmp_path / "profile.sqlite", {})


def using(llm: ScriptedLLM | CachedLLM) -> Callable[[Cell], Pipeline]:
    return lambda cell: make_pipeline(*cell, RETRIEVER, llm)


def prompts_of(llm: ScriptedLLM) -> list[Prompt]:
    return [prompt for _, prompts in llm.calls for prompt in prompts]


def test_each_question_is_answered_once_at_each_cell(store: ObservationStore) -> None:
    llm = ScriptedLLM(reply)
    report = profile("capitals", QUERIES[:4], using(llm), GRID[:3], store)
    assert (report.measured, report.known, report.failed, report.stopped) == (12, 0, {}, "")
    assert store.done("capitals") == {(cell, each.id) for cell in GRID[:3] for each in QUERIES[:4]}
    asked = len(prompts_of(llm))
    assert asked == report.usage.calls
    more = profile("capitals", QUERIES, using(llm), GRID, store)
    assert (more.measured, more.known) == (12, 12)
    assert len(prompts_of(llm)) == asked + more.usage.calls
    again = profile("capitals", QUERIES, using(ScriptedLLM([])), GRID, store)
    assert (again.measured, again.known, again.usage.calls) == (0, 24, 0)


def test_cells_are_measured_in_the_order_of_the_grid(store: ObservationStore) -> None:
    made: list[Cell] = []

    def pipeline(cell: Cell) -> Pipeline:
        made.append(cell)
        return using(ScriptedLLM(reply))(cell)

    profile("capitals", QUERIES[:2], pipeline, GRID[::-1], store)
    assert made == GRID[::-1]


def test_an_observation_says_what_the_question_took_and_gave(store: ObservationStore) -> None:
    llm = ScriptedLLM(lambda prompt: "in Rome" if "Italy" in prompt.question else reply(prompt))
    report = profile("capitals", QUERIES[:2], using(llm), [("DRAG", Allocation(2))], store)
    rows = list(store)
    assert [(row.query_id, row.answer) for row in rows] == [("F", "Paris"), ("I", "in Rome")]
    assert [row.metrics["EM"] for row in rows] == [1, 0]
    for row, query, prompt in zip(rows, QUERIES, prompts_of(llm), strict=False):
        assert row.metrics == {
            name: metric(row.answer, query.answers) for name, metric in ANSWER_METRICS.items()
        }
        assert [row.input_tokens] == llm.count_tokens([prompt])
        assert (row.computed_tokens, row.calls) == (row.input_tokens, 1)
        assert row.confidence is not None
        assert 0 < row.confidence < 1
    assert [row.output_tokens for row in rows] == [1, 2]
    assert report.usage.input_tokens == sum(row.input_tokens for row in rows)
    assert report.usage.output_tokens == 3


def test_tokens_of_all_calls_of_a_question_count(store: ObservationStore) -> None:
    llm = ScriptedLLM(reply)
    profile("capitals", QUERIES[:1], using(llm), [("IterDRAG", Allocation(1, 0, 2))], store)
    (row,) = store
    assert (row.calls, row.answer) == (3, "Paris")
    assert row.input_tokens == sum(llm.count_tokens(prompts_of(llm)))


def test_kept_replies_count_as_read_but_not_as_computed(tmp_path: Path) -> None:
    rows = []
    for name in ("first", "again"):
        store = ObservationStore(tmp_path / name, {})
        profile("c", QUERIES, using(CachedLLM(ScriptedLLM(reply), tmp_path / "r")), GRID, store)
        rows.append([replace(row, seconds=0) for row in store])
    first, again = rows
    assert all(row.computed_tokens == 0 for row in again)
    assert again == [replace(row, computed_tokens=0) for row in first]
    assert all(row.computed_tokens <= row.input_tokens for row in first)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_interrupt_loses_the_batch_under_way_only(
    store: ObservationStore, error: type[BaseException]
) -> None:
    def interrupted(prompt: Prompt) -> str:
        if "Norway" in prompt.question:
            raise error
        return reply(prompt)

    with pytest.raises(error):
        profile("capitals", QUERIES, using(ScriptedLLM(interrupted)), GRID, store)
    assert store.done("capitals") == {(GRID[0], "F"), (GRID[0], "I")}
    report = profile("capitals", QUERIES, using(ScriptedLLM(reply)), GRID, store)
    assert (report.measured, report.known) == (22, 2)


def test_a_question_that_fails_is_named_and_tried_again(store: ObservationStore) -> None:
    def failing(prompt: Prompt) -> str:
        if "Spain" in prompt.question:
            raise CallFailed("scripted", "no connection")
        return reply(prompt)

    report = profile("capitals", QUERIES, using(ScriptedLLM(failing)), GRID[:2], store)
    assert set(report.failed) == set(GRID[:2])
    assert report.failed[ZERO_SHOT] == "S: scripted: no connection"
    # The engine runs a batch in one call, which fails as one.
    assert (report.measured, report.stopped) == (8, "")
    report = profile("capitals", QUERIES, using(ScriptedLLM(reply)), GRID[:2], store)
    assert (report.measured, report.known, report.failed) == (4, 8, {})


def test_what_the_window_has_no_room_for_is_no_measurement(store: ObservationStore) -> None:
    short, long = QUERIES[0], Query("long", "And in one word: " + QUERIES[1].text, ("Rome",))
    prompt = load_template("short_answer").render(short.text, ())
    reserved = make_pipeline(*ZERO_SHOT, RETRIEVER, ScriptedLLM([])).sampling.max_tokens
    (tokens,) = ScriptedLLM([]).count_tokens([prompt])
    llm = ScriptedLLM(reply, context_window=tokens + reserved)
    one = ("DRAG", Allocation(1))
    report = profile("capitals", [short, long], using(llm), [ZERO_SHOT, one], store)
    assert store.done("capitals") == {(ZERO_SHOT, short.id)}
    assert report.measured == 1
    assert "do not fit the window" in report.failed[ZERO_SHOT]
    assert report.failed[one] == "F: passages left out for lack of room: 1 of 1"


@pytest.mark.parametrize(
    ("budget", "measured"),
    [
        (Budget(calls=0), 0),
        (Budget(calls=2), 2),
        (Budget(calls=3), 4),
        (Budget(tokens=1), 2),
        (Budget(seconds=15), 4),
        (Budget(cost=1e-9), 2),
    ],
)
def test_a_budget_is_asked_before_each_batch(
    store: ObservationStore, monkeypatch: pytest.MonkeyPatch, budget: Budget, measured: int
) -> None:
    clock = [0.0]

    class Slow(ScriptedLLM):
        def generate(self, prompts: list[Prompt], sampling: Sampling):  # type: ignore[override]
            clock[0] += 10
            return super().generate(prompts, sampling)

    monkeypatch.setattr(profiling, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    llm = Slow(reply, prices=Prices(1, 1))
    report = profile("capitals", QUERIES, using(llm), GRID, store, budget=budget)
    (kind,) = [
        name for name in ("tokens", "calls", "seconds", "cost") if getattr(budget, name) is not None
    ]
    assert report.stopped == f"the budget of {kind} is used up"
    assert report.measured == measured == len(list(store))
    assert report.failed == {}
    enough = Budget(tokens=10**9, calls=10**9, seconds=1e9, cost=1e9)
    report = profile("capitals", QUERIES, using(llm), GRID, store, budget=enough)
    assert (report.measured, report.known, report.stopped) == (24 - measured, measured, "")


def test_a_budget_that_is_used_up_by_the_last_batch_stopped_nothing(
    store: ObservationStore,
) -> None:
    llm = ScriptedLLM(reply)
    report = profile("c", QUERIES, using(llm), [ZERO_SHOT], store, budget=Budget(calls=6))
    assert (report.measured, report.stopped) == (6, "")


def test_progress_goes_from_what_is_known_to_all(store: ObservationStore) -> None:
    told: list[tuple[str, int, int | None]] = []
    llm = ScriptedLLM(reply)
    profile("c", QUERIES[:2], using(llm), GRID[:1], store)
    profile("c", QUERIES, using(llm), GRID[:1], store, progress=lambda *each: told.append(each))
    assert told == [("measuring", done, 6) for done in (2, 4, 6)]


def test_questions_need_accepted_answers(store: ObservationStore) -> None:
    queries = [*QUERIES, Query("why", "Why?")]
    with pytest.raises(InputError, match="question why has no accepted answers"):
        profile("capitals", queries, using(ScriptedLLM([])), GRID, store)
    assert list(store) == []

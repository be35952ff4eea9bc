from collections.abc import Callable
from pathlib import Path

import pytest

from rag.allocation.active import starting_cells
from rag.allocation.grid import parse_grid
from rag.allocation.observations import Cell
from rag.allocation.store import ObservationStore
from rag.core.allocations import Allocation
from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.generation import Prompt
from rag.evaluation.active_profiling import profile_actively
from rag.evaluation.datasets import Query
from rag.evaluation.profiling import ProfileReport, profile
from rag.pipelines import Pipeline
from rag.pipelines.strategies import make_pipeline
from rag.testing import ScriptedLLM
from tests.allocation.simulated import DRAG, observations, simulated
from tests.evaluation.capitals import CAPITALS, QUERIES, RETRIEVER, reply

GRID = parse_grid("DRAG k=0,1,2,3,5; IterDRAG k=1,2 n=1,2")
START = starting_cells(GRID)


@pytest.fixture
def store(tmp_path: Path) -> ObservationStore:
    return ObservationStore(tmp_path / "profile.sqlite", {})


def knows_half(prompt: Prompt) -> str:
    """Reply as a model that knows some capitals, and reads the others."""
    country = next(each for each in CAPITALS if each in prompt.question)
    known = country < "K" or any(CAPITALS[country] in context for context in prompt.contexts)
    return reply(prompt) if known else "It"


class Profile:
    """Profiles a few cells, and remembers which."""

    def __init__(self, llm: ScriptedLLM | None = None) -> None:
        self.llm = llm or ScriptedLLM(knows_half)
        self.cells: list[Cell] = []

    def pipeline(self, cell: Cell) -> Pipeline:
        self.cells.append(cell)
        return make_pipeline(*cell, RETRIEVER, self.llm)

    def run(self, store: ObservationStore, cells: int, budget: Budget = Budget()) -> ProfileReport:
        return profile_actively(
            "capitals", QUERIES, self.pipeline, GRID, store, metric="EM", cells=cells, budget=budget
        )


def measured(store: ObservationStore) -> set[Cell]:
    return {cell for cell, _ in store.done("capitals")}


def test_it_starts_with_what_a_model_cannot_do_without(store: ObservationStore) -> None:
    assert len(START) == 5
    some = Profile()
    report = some.run(store, 2)
    assert some.cells == START[:2]
    assert (report.measured, report.known, report.failed, report.stopped) == (12, 0, {}, "")
    assert report.usage.calls == len(some.llm.calls[0][1]) + len(some.llm.calls[1][1])
    more = Profile()
    assert more.run(store, 7).known == 12
    assert more.cells[:3] == START[2:]
    assert len(more.cells) == 5
    assert measured(store) == {*some.cells, *more.cells} > set(START)


def test_the_same_again_measures_nothing(store: ObservationStore) -> None:
    Profile().run(store, 7)
    before = measured(store)
    again = Profile(ScriptedLLM([]))
    report = again.run(store, 7)
    assert (report.measured, report.known, again.cells) == (0, 42, [])
    assert measured(store) == before


def test_what_was_measured_before_changes_no_choice(
    store: ObservationStore, tmp_path: Path
) -> None:
    first = Profile()
    first.run(store, 7)
    full = ObservationStore(tmp_path / "full.sqlite", {})
    everything = Profile()
    profile("capitals", QUERIES, everything.pipeline, GRID, full)
    assert Profile(ScriptedLLM([])).run(full, 7).known == 42
    unasked = ObservationStore(tmp_path / "unasked.sqlite", {})
    left_out = set(first.cells[5:])
    profile(
        "capitals", QUERIES, everything.pipeline, [c for c in GRID if c not in left_out], unasked
    )
    again = Profile()
    again.run(unasked, 7)
    assert set(again.cells) == left_out


def test_the_whole_grid_is_the_most(store: ObservationStore) -> None:
    report = Profile().run(store, 99)
    assert report.measured == len(GRID) * len(QUERIES)
    assert measured(store) == set(GRID)


def test_a_budget_stops_it_and_the_next_run_goes_on(
    store: ObservationStore, tmp_path: Path
) -> None:
    whole = Profile()
    uninterrupted = ObservationStore(tmp_path / "whole.sqlite", {})
    tokens = whole.run(uninterrupted, 7).usage.input_tokens
    part = Profile()
    report = part.run(store, 7, Budget(tokens=tokens // 3))
    assert report.stopped == "the budget of tokens is used up"
    assert 0 < len(part.cells) < 7
    assert report.usage.input_tokens < tokens
    rest = Profile()
    assert rest.run(store, 7, Budget(tokens=tokens)).stopped == ""
    assert [*part.cells, *rest.cells] == whole.cells
    assert Profile().run(store, 8, Budget(calls=0)).stopped == "the budget of calls is used up"


@pytest.mark.parametrize("kind", ["calls", "seconds", "cost"])
def test_all_cells_share_the_budget(store: ObservationStore, kind: str) -> None:
    """Each of the cells alone stays within it."""
    some = Profile()
    limit = {"calls": 13, "seconds": 1e-9, "cost": 0.0}[kind]
    report = some.run(store, 7, Budget(**{kind: limit}))
    assert report.stopped == f"the budget of {kind} is used up"
    assert len(some.cells) == (3 if kind == "calls" else 0)


def test_cells_that_fail_count_and_are_left_out(store: ObservationStore) -> None:
    """The window is too small for five passages, and for sub-questions."""
    small = Profile(ScriptedLLM(knows_half, context_window=100))
    report = small.run(store, 99)
    assert set(small.cells) == set(GRID)
    fit = {("DRAG", Allocation(documents)) for documents in (0, 1, 2, 3)}
    assert report.failed.keys() == set(GRID) - fit
    assert "for lack of room" in report.failed["DRAG", Allocation(5)]
    assert report.measured == len(fit) * len(QUERIES)
    assert len(Profile(small.llm).run(store, 4).failed) == 2


def test_a_model_that_fails_altogether_is_no_error(store: ObservationStore) -> None:
    report = Profile(ScriptedLLM(knows_half, context_window=10)).run(store, 99)
    assert report.measured == 0
    assert set(report.failed) == set(GRID)


def test_other_data_sets_of_the_store_count(store: ObservationStore) -> None:
    alone, with_others = Profile(), Profile()
    alone.run(store, 6)
    other = ObservationStore(store.path.with_name("other.sqlite"), {})
    table = simulated(20, cells=[cell for cell in DRAG if not cell[1].examples])
    other.add(observations(table))
    with_others.run(other, 6)
    assert with_others.cells[:5] == alone.cells[:5] == START
    assert len(with_others.cells) == 6


def test_questions_need_answers(store: ObservationStore) -> None:
    make: Callable[[Cell], Pipeline] = Profile().pipeline
    nameless = [Query("q", "Which ?", ())]
    with pytest.raises(InputError, match="question q has no accepted answers"):
        profile_actively("capitals", nameless, make, GRID, store, metric="EM", cells=1)

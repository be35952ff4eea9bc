from pathlib import Path
from typing import Any

import pytest

from rag.allocation.grid import parse_grid
from rag.allocation.observations import Cell
from rag.allocation.store import ObservationStore
from rag.core.errors import InputError, SearchFailed
from rag.core.hits import Hit
from rag.core.protocols import LLM
from rag.core.usage import Prices
from rag.evaluation.profile_estimate import estimate_profile
from rag.evaluation.profiling import profile
from rag.models.cost_model import CostModel
from rag.pipelines import Pipeline
from rag.pipelines.strategies import make_pipeline
from rag.testing import ScriptedLLM
from tests.evaluation.capitals import QUERIES, RETRIEVER, reply

GRID = parse_grid("DRAG k=0,1,3")


def with_model(cell: Cell, llm: LLM) -> Pipeline:
    return make_pipeline(*cell, RETRIEVER, llm)


def test_what_is_read_at_once_is_known_exactly(tmp_path: Path) -> None:
    llm = ScriptedLLM(reply)
    # As long as each other, so that three of them stand for all.
    expected = estimate_profile(QUERIES, with_model, GRID, llm)
    assert llm.calls == []
    store = ObservationStore(tmp_path / "profile", {})
    used = profile("c", QUERIES, lambda cell: with_model(cell, llm), GRID, store).usage
    assert (expected.input_tokens, expected.calls) == (used.input_tokens, used.calls)
    assert expected.output_tokens == used.calls * 32
    assert (expected.seconds, expected.cost) == (None, None)


def test_sub_questions_count_as_many_as_there_may_be() -> None:
    grid = parse_grid("IterDRAG k=1 n=1,2,4")
    expected = estimate_profile(QUERIES, with_model, grid, ScriptedLLM([]))
    assert expected.calls == 6 * (3 + 5 + 9)
    assert expected.output_tokens == expected.calls * 48


def test_each_call_takes_its_time_and_money() -> None:
    llm = ScriptedLLM([], prices=Prices(input=2e6, output=1e6))
    costs = CostModel(overhead=1, computed=0.5, output=0.25)
    expected = estimate_profile(QUERIES, with_model, GRID, llm, cost_model=costs)
    assert expected.seconds == pytest.approx(
        expected.calls
        + 0.5 * expected.input_tokens
        + 0.25 * (expected.output_tokens - expected.calls)
    )
    assert expected.cost == pytest.approx(2 * expected.input_tokens + expected.output_tokens)


def test_without_questions_there_is_nothing_to_estimate() -> None:
    with pytest.raises(InputError, match="no questions"):
        estimate_profile([], with_model, GRID, ScriptedLLM([]))


def test_a_cell_that_cannot_run_is_no_cheap_one() -> None:
    class Broken:
        name = "broken"

        def search_many(self, queries: Any, top_k: int, where: object = None) -> list[list[Hit]]:
            raise SearchFailed(self.name, "no index")

    with pytest.raises(SearchFailed, match="no index"):
        estimate_profile(
            QUERIES, lambda cell, llm: make_pipeline(*cell, Broken(), llm), GRID, ScriptedLLM([])
        )

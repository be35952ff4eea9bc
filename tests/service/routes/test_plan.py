from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.allocation.fitted import FittedAllocation
from rag.allocation.observations import Cell
from rag.core.documents import Document
from rag.testing import EchoLLM
from tests.allocation.simulated import GRID, observations, simulated
from tests.service.birds import QUESTION, add_birds
from tests.service.running import RunningService

SMALL: list[Cell] = [cell for cell in GRID if cell[1].documents <= 5]


class CountingLLM(EchoLLM):
    """Counts how often tokens are counted."""

    counted = 0

    def count_tokens(self, prompts: Any) -> list[int]:
        self.counted += 1
        return super().count_tokens(prompts)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("plan")
    FittedAllocation.fit(observations(simulated(16, cells=SMALL))).save(folder / "fitted.json")
    with RunningService(
        folder / "data",
        llm=CountingLLM(),
        answers={"allocation": folder / "fitted.json"},
        pipelines={
            "steps": {"strategy": "IterDRAG", "documents": 2, "steps": 3},
            "ranked": {"rerank": "sliding-permutation", "documents": 2},
        },
    ) as running:
        add_birds(running)
        yield running


def plan(running: RunningService, **query: Any) -> Any:
    return running.client.get("/v1/plan", params={"collection": "birds"} | query)


def ask(running: RunningService, **request: Any) -> Any:
    asked = {"question": QUESTION, "collection": "birds"} | request
    return running.client.post("/v1/answer", json=asked).json()


@pytest.mark.parametrize("tokens", [20, 65, 1000])
def test_a_plan_for_reading_is_what_is_read(birds: RunningService, tokens: int) -> None:
    planned = plan(birds, tokens=tokens).json()
    usage = ask(birds, budget={"tokens": tokens})["usage"]
    assert planned["pipeline"] == "read"
    assert (planned["documents"] == 0) == (usage["calls"] == 0)
    assert planned["tokens"] <= tokens
    # Passages are not all of one length, so of a few that nearly fit one may be too much.
    assert planned["tokens"] == pytest.approx(usage["input_tokens"], abs=20)


def test_reading_is_estimated_once_for_what_is_in_a_collection(birds: RunningService) -> None:
    llm, collection = birds.service.llm, birds.service.library["birds"].collection
    assert isinstance(llm, CountingLLM)
    plan(birds)
    before = llm.counted
    assert [plan(birds, tokens=n).status_code for n in (10, 100)] == [200, 200]
    assert llm.counted == before
    collection.add([Document("long.md", "long " * 200)])
    plan(birds)
    assert llm.counted == before + 1
    collection.remove(["long.md"])


def test_a_fitted_allocation_is_planned_and_followed(birds: RunningService) -> None:
    few, many = (plan(birds, pipeline="planned", tokens=n).json() for n in (200, 30_000))
    assert (few["strategy"], few["documents"]) == ("DRAG", 0)
    assert (many["strategy"], many["steps"]) == ("IterDRAG", 5)
    assert 0 <= few["quality"] < many["quality"] <= 1
    assert few["tokens"] < 200 < many["tokens"]
    assert "30,000 tokens" in many["reason"]
    answer = ask(birds, pipeline="planned", budget={"tokens": 200})
    assert answer["notes"][0].startswith("planned for the budget: DRAG k=0")
    assert answer["usage"]["input_tokens"] <= 200


def test_a_budget_that_nothing_fits_names_the_smallest(birds: RunningService) -> None:
    error = plan(birds, pipeline="planned", tokens=10).json()["error"]
    assert error["code"] == "budget_too_small"
    assert "the smallest that something fits" in error["message"]
    reply = birds.client.post(
        "/v1/answer",
        json={"question": "q", "collection": "birds", "pipeline": "planned"}
        | {"budget": {"tokens": 10}},
    )
    assert (reply.status_code, reply.json()["error"]) == (422, error | reply.json()["error"])


def test_other_pipelines_say_what_is_known_of_them(birds: RunningService) -> None:
    quoted = plan(birds, pipeline="extractive").json()
    assert (quoted["tokens"], quoted["documents"]) == (0, 5)
    steps = plan(birds, pipeline="steps").json()
    assert (steps["strategy"], steps["documents"], steps["steps"]) == ("IterDRAG", 2, 3)
    ranked = plan(birds, pipeline="ranked").json()
    assert (ranked["documents"], ranked["tokens"]) == (2, None)
    web = birds.client.get("/v1/plan", params={"tokens": 500}).json()
    assert (web["documents"], web["tokens"]) == (5, None)


def test_pipelines_of_the_settings_answer(birds: RunningService) -> None:
    stages = {each["stage"] for each in ask(birds, pipeline="ranked")["stages"]}
    assert "rerank" in stages
    assert ask(birds, pipeline="steps")["pipeline"] == "steps"


def test_an_empty_collection_and_an_unknown_one(birds: RunningService) -> None:
    birds.client.post("/v1/collections", json={"name": "empty"})
    assert plan(birds, collection="empty").json()["documents"] == 0
    assert plan(birds, collection="fish").status_code == 404
    unknown = plan(birds, pipeline="guess")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "unknown_pipeline")
    assert plan(birds, tokens=-1).status_code == 422


def test_the_service_says_what_it_offers(birds: RunningService) -> None:
    offered = birds.client.get("/v1/service").json()
    assert [each["name"] for each in offered["pipelines"]] == [
        "read", "extractive", "planned", "steps", "ranked",
    ]  # fmt: skip
    assert [each["default"] for each in offered["pipelines"]] == [True] + [False] * 4
    assert (offered["llm"], offered["planned"], offered["web"]) == ("echo", True, False)
    assert offered["scopes"] == ["admin", "read", "write"]
    assert {".md", ".pdf"} <= set(offered["suffixes"])
    assert offered["file_bytes"] == birds.settings.limits.file_bytes


def test_no_limit_of_tokens_is_above_that_of_the_settings(tmp_path: Path) -> None:
    with RunningService(tmp_path, answers={"tokens": 40}) as running:
        add_birds(running)
        assert plan(running).json()["documents"] <= 1
        assert ask(running, budget={"tokens": 9999})["usage"]["input_tokens"] <= 40

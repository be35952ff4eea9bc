from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.service.keys import Scope
from tests.service.birds import QUESTION, add_birds
from tests.service.running import RunningService

ANSWERS = {"keep": 2, "pipeline": "extractive"}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("feedback"), answers=ANSWERS) as running:
        add_birds(running)
        yield running


def ask(running: RunningService, **more: Any) -> dict[str, Any]:
    asked = {"question": QUESTION, "collection": "birds"}
    reply: dict[str, Any] = running.client.post("/v1/answer", json=asked, **more).json()
    return reply


def rate(running: RunningService, answer_id: str, rating: str, **more: Any) -> int:
    said = {"answer_id": answer_id, "rating": rating, "comment": more.pop("comment", "")}
    return running.client.post("/v1/feedback", json=said, **more).status_code


def listed(running: RunningService, **more: Any) -> list[dict[str, Any]]:
    reply: list[dict[str, Any]] = running.client.get("/v1/feedback", **more).json()["feedback"]
    return reply


def test_feedback_is_kept_with_its_answer_and_the_second_one_counts(birds: RunningService) -> None:
    answer = ask(birds)
    assert rate(birds, answer["id"], "up") == 204
    assert rate(birds, answer["id"], "down", comment="frogs, too") == 204
    (kept,) = (each for each in listed(birds) if each["answer_id"] == answer["id"])
    assert (kept["rating"], kept["comment"]) == ("down", "frogs, too")
    assert (kept["question"], kept["answer"]) == (QUESTION, answer["text"])
    assert (kept["collection"], kept["pipeline"]) == ("birds", "extractive")


def test_only_the_latest_answers_are_kept(birds: RunningService) -> None:
    first, second, third = (ask(birds)["id"] for _ in range(3))
    assert [rate(birds, each, "up") for each in (first, second, third)] == [404, 204, 204]
    ask(birds)
    assert [each["answer_id"] for each in listed(birds)] == [third]


def test_no_texts_of_passages_are_kept(birds: RunningService) -> None:
    assert "stands still" in str(ask(birds)["hits"])
    with birds.service.database.read() as connection:
        kept = [row["answer"] for row in connection.execute("SELECT answer FROM answers")]
    assert kept
    assert "stands still" not in str(kept)


def test_streamed_answers_can_be_rated_too(birds: RunningService) -> None:
    asked = {"question": QUESTION, "collection": "birds", "stream": True}
    stream = birds.client.post("/v1/answer", json=asked).text
    start = stream.split('{"id":"', 1)[1].split('"', 1)[0]
    assert rate(birds, start, "up") == 204


@pytest.mark.parametrize(
    "said", [{"answer_id": "a", "rating": "meh"}, {"rating": "up"}, {"answer_id": "a" * 65}]
)
def test_malformed_feedback_is_refused(birds: RunningService, said: dict[str, str]) -> None:
    assert birds.client.post("/v1/feedback", json=said).status_code == 422


def test_answers_of_others_are_not_there(tmp_path: Path) -> None:
    with RunningService(tmp_path, answers=ANSWERS) as running:
        add_birds(running)

        def made(name: str, scope: Scope, *collections: str) -> dict[str, Any]:
            _, secret = running.service.keys.create(name, [scope], collections or None)
            return {"headers": {"Authorization": f"Bearer {secret}"}}

        admin, elsewhere = made("admin", "admin"), made("elsewhere", "admin", "fish")
        one, other = made("one", "read"), made("other", "read")
        answer = ask(running, **one)
        assert rate(running, answer["id"], "up", **other) == 404
        assert rate(running, answer["id"], "up", **one) == 204
        assert [len(listed(running, **each)) for each in (admin, elsewhere)] == [1, 0]
        assert running.client.get("/v1/feedback", **one).status_code == 403

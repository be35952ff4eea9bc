from pathlib import Path

import pytest

from tests.service.running import RunningService


def test_a_collection_is_made_listed_shown_and_deleted(running: RunningService) -> None:
    client = running.client
    made = client.post("/v1/collections", json={"name": "handbook"})
    assert made.status_code == 201
    assert made.json()["documents"] == 0
    assert made.json()["writable"]
    assert [each["name"] for each in client.get("/v1/collections").json()] == ["handbook"]
    assert client.get("/v1/collections/handbook").json() == made.json()
    assert client.delete("/v1/collections/handbook").status_code == 204
    assert client.get("/v1/collections").json() == []
    assert client.get("/v1/collections/handbook").status_code == 404


def test_names_are_taken_once_whatever_their_case(running: RunningService) -> None:
    assert running.client.post("/v1/collections", json={"name": "Docs"}).status_code == 201
    again = running.client.post("/v1/collections", json={"name": "docs"})
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "collection_exists"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", ".hidden", "x" * 65, "a\u0000"])
def test_names_that_could_be_paths_are_refused(running: RunningService, name: str) -> None:
    reply = running.client.post("/v1/collections", json={"name": name})
    assert reply.status_code == 422
    assert reply.json()["error"]["param"] == "body.name"


def test_collections_are_there_after_a_restart(tmp_path: Path) -> None:
    with RunningService(tmp_path) as running:
        running.client.post("/v1/collections", json={"name": "handbook"})
    (tmp_path / "collections" / "left-by-a-kill").mkdir()
    with RunningService(tmp_path) as running:
        assert [each["name"] for each in running.client.get("/v1/collections").json()] == [
            "handbook"
        ]
    assert len(list((tmp_path / "collections").iterdir())) == 1


def test_unknown_keys_of_a_body_are_refused(running: RunningService) -> None:
    reply = running.client.post("/v1/collections", json={"name": "a", "index": "flat"})
    assert reply.status_code == 422
    assert "index" in reply.json()["error"]["message"]

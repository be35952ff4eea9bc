from tests.service.jobs import uploaded
from tests.service.running import RunningService


def test_jobs_are_listed_shown_and_told_apart(running: RunningService) -> None:
    client = running.client
    for name in ("handbook", "notes"):
        client.post("/v1/collections", json={"name": name})
    first = uploaded(client, {"a.txt": "Terns dive.", "b.zip": "zip"})
    second = uploaded(client, {"c.txt": "Gulls shout."}, "notes")
    assert (first["kind"], first["collection"], first["state"]) == ("upload", "handbook", "done")
    assert (first["done"], first["total"], first["error"]) == (1, 1, None)
    assert first["report"] == {
        "added": 1,
        "updated": 0,
        "unchanged": 0,
        "removed": 0,
        "passages": 1,
        "embedded": 1,
        "reused": 0,
    }
    assert [each["name"] for each in first["refused"]] == ["b.zip"]
    assert first["created"] <= first["started"] <= first["finished"]
    assert client.get("/v1/jobs").json() == [second, first]
    assert client.get("/v1/jobs", params={"limit": 1}).json() == [second]
    assert client.get("/v1/jobs", params={"collection": "HANDBOOK"}).json() == [first]
    assert client.get("/v1/jobs", params={"state": "queued"}).json() == []
    assert client.get("/v1/jobs", params={"state": "gone"}).status_code == 422


def test_jobs_that_there_are_not(running: RunningService) -> None:
    for ask in (running.client.get, running.client.delete):
        reply = ask("/v1/jobs/0123")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")

from pathlib import Path

from rag.core.errors import StorageError
from tests.service.running import RunningService


def test_a_service_that_can_work_is_healthy_and_ready(running: RunningService) -> None:
    assert running.client.get("/health").json() == {"status": "ok"}
    ready = running.client.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"reasons": []})


def test_a_service_that_is_only_read_is_ready_too(tmp_path: Path) -> None:
    with RunningService(tmp_path, read_only=True) as running:
        assert running.client.get("/ready").status_code == 200


def test_a_service_that_stops_is_not_ready_but_healthy(running: RunningService) -> None:
    running.app.state.stopping = True
    ready = running.client.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"reasons": ["the service is stopping"]})
    assert running.client.get("/health").status_code == 200


def test_a_service_whose_jobs_stand_still_is_not_ready(running: RunningService) -> None:
    running.service.jobs.stop()
    ready = running.client.get("/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["jobs are not worked on"])


def test_a_database_that_refuses_is_a_reason_and_is_not_described(
    running: RunningService, monkeypatch
) -> None:
    def refuse() -> None:
        raise StorageError(str(running.service.database.path), "disk I/O error")

    monkeypatch.setattr(running.service.database, "write", refuse)
    ready = running.client.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["reasons"] == ["the database cannot be written"]


def test_supervisors_need_no_key_and_metrics_need_one(running: RunningService) -> None:
    _, reads = running.service.keys.create("reads", ["read"])
    _, admin = running.service.keys.create("admin", ["admin"])
    client = running.client
    assert client.get("/health").status_code == client.get("/ready").status_code == 200
    for key, status in (("", 401), (reads, 403), (admin, 200)):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        assert client.get("/metrics", headers=headers).status_code == status

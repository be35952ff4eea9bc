import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rag.core.errors import StorageError
from rag.indexes import indexing
from rag.service.database import Database
from rag.service.job_store import KEPT, JobStore
from rag.service.schemas import RefusedFile
from tests.service.jobs import GatedEmbedder, ended, names, upload, uploaded
from tests.service.killed import POISON, PROCESSES, serve
from tests.service.running import RunningService


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(Database(tmp_path / "service.sqlite"))


def test_jobs_are_taken_in_the_order_in_which_they_came(store: JobStore) -> None:
    refused = (RefusedFile(name="b", reason="because"),)
    first = store.add("upload", "a", files={0: "x", 2: "y"}, refused=refused)
    second = store.add("folder", "b")
    assert (first.state, first.total, first.refused) == ("queued", 2, refused)
    taken = store.take()
    assert taken is not None
    assert (taken.id, taken.files, taken.refused) == (first.id, {0: "x", 2: "y"}, refused)
    assert [job.id for job in store.list(states=["queued"])] == [second.id]
    assert [job.id for job in store.list()] == [second.id, first.id]
    assert [job.id for job in store.list(collection="A")] == [first.id]
    store.advance(first.id, 1, 2)
    assert [job.done for job in store.list(states=["running"])] == [1]
    store.end(first.id, "done", done=2, total=2, report={"added": 2}, refused=refused)
    done = store.get(first.id)
    assert done is not None
    assert (done.state, done.report, done.refused) == ("done", {"added": 2}, refused)
    assert store.take() is not None
    assert store.take() is None


def test_the_third_start_that_ends_with_the_process_is_the_last(store: JobStore) -> None:
    job = store.add("folder", "a")
    for _ in range(3):
        assert store.take() is not None
        store.put_back(job.id)  # a service that was stopped counts for nothing
    for _ in range(3):
        store.recover()
        assert store.take() is not None
    store.recover()
    failed = store.get(job.id)
    assert failed is not None
    assert failed.state == "failed"
    assert "ended 3 times" in (failed.error or "")


def test_a_job_that_was_cancelled_while_it_ran_does_not_run_again(store: JobStore) -> None:
    job = store.add("folder", "a")
    store.take()
    assert not store.cancel(job.id)
    store.recover()
    assert [each.state for each in store.list()] == ["cancelled"]
    assert store.take() is None


def test_the_jobs_that_ended_last_are_kept(store: JobStore) -> None:
    with store._database.write() as connection:
        connection.executemany(
            "INSERT INTO jobs (id, number, kind, collection, state, work, created) "
            "VALUES (?, ?, 'folder', 'a', 'done', '{\"refused\": []}', '')",
            [(str(number), number) for number in range(KEPT + 5)],
        )
    job = store.add("folder", "a")
    store.end(job.id, "done", done=0, total=0, report={}, refused=())
    kept = store.list()
    assert len(kept) == KEPT
    assert (kept[0].id, kept[-1].id) == (job.id, "6")


@pytest.fixture
def gated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[RunningService, GatedEmbedder]]:
    monkeypatch.setattr(indexing, "_BATCH_DOCUMENTS", 1)
    embedder = GatedEmbedder()
    with RunningService(tmp_path, embedder=embedder) as running:
        running.client.post("/v1/collections", json={"name": "handbook"})
        yield running, embedder
        embedder.gate.set()


def test_cancelling(gated: tuple[RunningService, GatedEmbedder], tmp_path: Path) -> None:
    running, embedder = gated
    client = running.client
    embedder.gate.set()
    assert uploaded(client, {"kept.md": "# Terns\n\nTerns dive."})["report"]["added"] == 1
    embedder.gate.clear()
    embedder.waiting.clear()
    # The first batch needs no embedding: its text is known.
    files = {"copy.md": "# Terns\n\nTerns dive.", "new.txt": "Gulls shout."}
    works = upload(client, files).json()["id"]
    waits = upload(client, {"other.txt": "Herons wait."}).json()["id"]
    assert embedder.waiting.wait(10)
    assert client.get(f"/v1/jobs/{works}").json()["state"] == "running"
    assert client.delete(f"/v1/jobs/{waits}").json()["state"] == "cancelled"
    client.delete(f"/v1/jobs/{works}")
    job = ended(client, works)
    assert job["state"] == "cancelled"
    assert (job["report"]["added"], job["done"], job["total"]) == (1, 1, 2)
    embedder.gate.set()
    assert uploaded(client, {"last.txt": "Ducks paddle."})["state"] == "done"
    assert names(client) == ["kept.md", "copy.md", "last.txt"]
    assert client.delete(f"/v1/jobs/{works}").json() == job
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_collection_is_deleted_while_a_job_changes_it(
    gated: tuple[RunningService, GatedEmbedder],
) -> None:
    running, embedder = gated
    jobs = [
        upload(running.client, {f"{number}.txt": f"Bird {number}."}).json()["id"]
        for number in range(3)
    ]
    assert embedder.waiting.wait(10)
    assert running.client.delete("/v1/collections/handbook").status_code == 204
    assert [ended(running.client, job)["state"] for job in jobs] == ["cancelled"] * 3


def test_a_stopped_service_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = GatedEmbedder()
    with RunningService(tmp_path, embedder=embedder) as running:
        running.client.post("/v1/collections", json={"name": "handbook"})
        job = upload(running.client, {"a.txt": "Terns dive."}).json()["id"]
        assert embedder.waiting.wait(10)
    with RunningService(tmp_path) as running:
        assert ended(running.client, job)["report"]["added"] == 1
        assert names(running.client) == ["a.txt"]


def test_a_failed_job_says_why_and_the_next_one_runs(
    running: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.client.post("/v1/collections", json={"name": "handbook"})
    embed = type(running.service.embedder).embed_passages

    def fail(*_: object) -> None:
        raise OSError("/secret/path")

    monkeypatch.setattr(type(running.service.embedder), "embed_passages", fail)
    job = uploaded(running.client, {"a.txt": "Terns dive."})
    assert job["state"] == "failed"
    assert "secret" not in job["error"]
    monkeypatch.setattr(type(running.service.embedder), "embed_passages", embed)
    assert uploaded(running.client, {"a.txt": "Terns dive."})["state"] == "done"


def test_a_followed_folder_is_kept_up_with(tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    (folder / "sea").mkdir(parents=True)
    for name in ("terns.txt", "sea/gulls.md", "herons.txt"):
        (folder / name).write_text(f"All about {name}.")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4")
    (folder / "lines.jsonl").write_text('{"text": "Ducks paddle."}\nnone\n')

    def synced(client: httpx2.Client) -> dict[str, int]:
        job = ended(client, client.get("/v1/jobs").json()[0]["id"])
        assert (job["kind"], job["state"]) == ("folder", "done")
        assert sorted(each["name"] for each in job["refused"]) == ["broken.pdf", "lines.jsonl"]
        assert str(tmp_path) not in str(job)
        report: dict[str, int] = job["report"]
        return report

    with RunningService(tmp_path / "data", sources=[folder]) as running:
        assert synced(running.client)["added"] == 4
        assert uploaded(running.client, {"swifts.txt": "Swifts sleep."}, "birds")["state"] == "done"
    (folder / "terns.txt").unlink()
    (folder / "herons.txt").write_text("Herons wait.")
    (folder / "ducks.txt").write_text("Ducks paddle.")
    with RunningService(tmp_path / "data", sources=[folder]) as running:
        report = synced(running.client)
        counts = [report[name] for name in ("added", "updated", "unchanged", "removed")]
        assert counts == [1, 1, 2, 1]
        assert sorted(names(running.client, "birds")) == [
            "birds/ducks.txt",
            "birds/herons.txt",
            "birds/lines.jsonl:1",
            "birds/sea/gulls.md",
            "swifts.txt",
        ]
    folder.rename(tmp_path / "moved")
    with RunningService(tmp_path / "data") as running:
        job = ended(running.client, running.client.get("/v1/jobs").json()[0]["id"])
        assert (job["state"], str(tmp_path) in job["error"]) == ("failed", False)
        assert len(names(running.client, "birds")) == 5


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=serve, args=(tmp_path, there))
    process.start()
    try:
        with httpx2.Client(base_url=here.recv()) as client:
            client.post("/v1/collections", json={"name": "handbook"})
            texts = {f"{number}.txt": f"Bird {number} sings." for number in range(12)}
            for start in range(0, 12, 3):
                files = dict(list(texts.items())[start : start + 3])
                assert upload(client, files).status_code == 202
    finally:
        process.kill()
        process.join()
    with RunningService(tmp_path) as running:
        for job in running.client.get("/v1/jobs").json():
            assert ended(running.client, job["id"])["state"] == "done"
        assert sorted(names(running.client)) == sorted(texts)
        for name, text in texts.items():
            reply = running.client.post(
                "/v1/collections/handbook/search",
                json={"query": text.split()[1], "retriever": "lexical"},
            )
            assert [hit["passage"]["document_id"] for hit in reply.json()["hits"]] == [name]


def test_a_file_that_ends_the_process_does_so_three_times_and_costs_no_other(
    tmp_path: Path,
) -> None:
    for start in range(3):
        here, there = PROCESSES.Pipe()
        process = PROCESSES.Process(target=serve, args=(tmp_path, there))
        process.start()
        there.close()
        if start == 0:
            with httpx2.Client(base_url=here.recv()) as client:
                client.post("/v1/collections", json={"name": "handbook"})
                with suppress(httpx2.TransportError):  # it may end before it has replied
                    upload(client, {"a.txt": "Auks", POISON: "Terns dive.", "z.txt": "Zosterops"})
        process.join(30)
        assert process.exitcode == 9
    with RunningService(tmp_path) as running:
        job = ended(running.client, running.client.get("/v1/jobs").json()[0]["id"])
        assert job["state"] == "done"
        assert [each["name"] for each in job["refused"]] == [POISON]
        assert (job["done"], job["total"], job["report"]["added"]) == (3, 3, 2)
        assert names(running.client) == ["a.txt", "z.txt"]
        assert list((tmp_path / "uploads").iterdir()) == []


def test_an_upload_that_the_disk_refuses_stays_for_the_next_start(tmp_path: Path) -> None:
    with RunningService(tmp_path) as running:
        running.client.post("/v1/collections", json={"name": "handbook"})
        refused = threading.Event()

        def refuse(*_: Any, **__: Any) -> Any:
            refused.set()
            raise StorageError("store", "no space left on the device")

        running.service.library["handbook"].collection.add_batches = refuse  # type: ignore[method-assign]
        assert upload(running.client, {"a.txt": "Auks dive."}).status_code == 202
        assert refused.wait(10)
    with RunningService(tmp_path) as running:
        job = ended(running.client, running.client.get("/v1/jobs").json()[0]["id"])
        assert (job["state"], names(running.client)) == ("done", ["a.txt"])

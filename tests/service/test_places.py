from pathlib import Path

from tests.service.running import RunningService


def test_nothing_says_where_files_lie(tmp_path: Path) -> None:
    folder = tmp_path / "secret-place" / "docs"
    folder.mkdir(parents=True)
    (folder / "bees.md").write_text("# Bees\n\nBees make honey in spring.\n")
    with RunningService(tmp_path / "data", sources=[folder]) as running:
        (job,) = running.client.get("/v1/jobs").json()
        while job["state"] in ("queued", "running"):
            job = running.client.get(f"/v1/jobs/{job['id']}").json()
        assert job["state"] == "done"
        documents = running.client.get("/v1/collections/docs/documents")
        (document,) = documents.json()["documents"]
        replies = [
            documents,
            running.client.get("/v1/collections/docs/document", params={"id": document["id"]}),
            running.client.post("/v1/collections/docs/search", json={"query": "honey"}),
            running.client.post(
                "/v1/answer", json={"question": "What do bees make?", "collection": "docs"}
            ),
        ]
    for reply in replies:
        assert reply.status_code == 200
        assert "honey" in reply.text or reply is documents
        assert "secret-place" not in reply.text

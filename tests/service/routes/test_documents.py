from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from rag.indexes import Collection
from rag.testing import HashEmbedder
from tests.service.jobs import names, upload, uploaded
from tests.service.running import RunningService

DOCUMENTS = "/v1/collections/handbook/documents"
DOCUMENT = "/v1/collections/handbook/document"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with RunningService(tmp_path_factory.mktemp("data")) as running:
        running.client.post("/v1/collections", json={"name": "handbook"})
        uploaded(running.client, {f"{number}.txt": f"Bird {number}." for number in range(5)})
        yield running.client


def code(reply: httpx2.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def test_documents_are_listed_page_by_page(client: httpx2.Client) -> None:
    found, after = [], "0"
    for size in (2, 2, 1):
        page = client.get(DOCUMENTS, params={"limit": 2, "after": after}).json()
        assert len(page["documents"]) == size
        found += [each["id"] for each in page["documents"]]
        after = page["next"]
    assert after is None
    assert found == [f"{number}.txt" for number in range(5)]
    first = client.get(DOCUMENTS, params={"limit": 1}).json()["documents"][0]
    assert first == {
        "id": "0.txt",
        "title": "0",
        "uri": "upload:0.txt",
        "metadata": {"format": "text"},
    }


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": 2**63}, {"after": "x"}]
)
def test_pages_that_there_cannot_be(client: httpx2.Client, params: dict[str, object]) -> None:
    assert code(client.get(DOCUMENTS, params=params)) == (422, "invalid_request")


def test_a_document_is_shown_replaced_and_deleted(client: httpx2.Client) -> None:
    job = uploaded(client, {"a/b c.txt": "Terns dive."})
    assert job["report"]["added"] == 1
    assert client.get(DOCUMENT, params={"id": "a/b c.txt"}).json()["text"] == "Terns dive."
    assert uploaded(client, {"a/b c.txt": "Terns dive."})["report"]["unchanged"] == 1
    assert uploaded(client, {"a/b c.txt": "Terns fly."})["report"]["updated"] == 1
    assert client.get(DOCUMENT, params={"id": "a/b c.txt"}).json()["text"] == "Terns fly."
    assert client.delete(DOCUMENT, params={"id": "a/b c.txt"}).status_code == 204
    for ask in (client.get, client.delete):
        assert code(ask(DOCUMENT, params={"id": "a/b c.txt"})) == (404, "document_not_found")
    search = client.post("/v1/collections/handbook/search", json={"query": "Terns"}).json()
    assert "a/b c.txt" not in [hit["passage"]["document_id"] for hit in search["hits"]]


@pytest.mark.parametrize("name", ["../0.txt", "\x00", "\ud7ff", "x" * 3000, "' OR 1=1 --"])
def test_ids_are_only_looked_up(client: httpx2.Client, name: str) -> None:
    assert code(client.get(DOCUMENT, params={"id": name})) == (404, "document_not_found")
    assert code(client.delete(DOCUMENT, params={"id": name})) == (404, "document_not_found")


def test_there_has_to_be_a_collection(client: httpx2.Client) -> None:
    for reply in (
        upload(client, {"a.txt": "Terns dive."}, "other"),
        client.get("/v1/collections/other/documents"),
        client.get("/v1/collections/other/document", params={"id": "a"}),
        client.delete("/v1/collections/other/document", params={"id": "a"}),
    ):
        assert code(reply) == (404, "collection_not_found")


def test_a_read_only_service_changes_nothing(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "handbook", HashEmbedder()):
        pass
    with RunningService(
        tmp_path / "data", sources=[tmp_path / "handbook"], read_only=True
    ) as running:
        client = running.client
        assert names(client) == []
        assert code(upload(client, {"a.txt": "Terns dive."})) == (409, "read_only")
        assert code(client.delete(DOCUMENT, params={"id": "a"})) == (409, "read_only")
        assert code(client.post("/v1/collections", json={"name": "a"})) == (409, "read_only")


def test_who_may_do_what(tmp_path: Path) -> None:
    with RunningService(tmp_path) as running:
        running.client.post("/v1/collections", json={"name": "handbook"})
        secrets = {
            name: running.service.keys.create(name, scopes, collections)[1]
            for name, scopes, collections in (
                ("reader", ["read"], None),
                ("writer", ["write", "read"], ["handbook"]),
                ("stranger", ["write", "read"], ["others"]),
            )
        }

        def client(name: str) -> httpx2.Client:
            headers = {"Authorization": f"Bearer {secrets[name]}"}
            return httpx2.Client(base_url=running.url, headers=headers)

        with client("reader") as reader, client("writer") as writer, client("stranger") as other:
            assert upload(reader, {"a.txt": "Terns dive."}).status_code == 403
            job = uploaded(writer, {"a.txt": "Terns dive."})["id"]
            assert names(reader) == ["a.txt"]
            assert reader.delete(DOCUMENT, params={"id": "a.txt"}).status_code == 403
            assert reader.get(f"/v1/jobs/{job}").status_code == 200
            assert reader.delete(f"/v1/jobs/{job}").status_code == 403
            assert upload(other, {"a.txt": "Terns dive."}).status_code == 404
            for reply in (other.get(DOCUMENTS), other.delete(DOCUMENT, params={"id": "a.txt"})):
                assert code(reply) == (404, "collection_not_found")
            assert other.get("/v1/jobs").json() == []
            for reply in (other.get(f"/v1/jobs/{job}"), other.delete(f"/v1/jobs/{job}")):
                assert code(reply) == (404, "job_not_found")
            assert writer.delete(DOCUMENT, params={"id": "a.txt"}).status_code == 204

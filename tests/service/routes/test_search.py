from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rag.core.errors import StorageError
from tests.service.birds import add_birds
from tests.service.doubles import GatedRetriever, eventually
from tests.service.running import RunningService


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("search")) as running:
        add_birds(running)
        yield running


def search(running: RunningService, query: str, **request: Any) -> Any:
    url = f"/v1/collections/{request.pop('collection', 'birds')}/search"
    return running.client.post(url, json={"query": query} | request)


@pytest.mark.parametrize("retriever", ["hybrid", "dense", "lexical"])
def test_hits_come_best_first_with_what_was_used(birds: RunningService, retriever: str) -> None:
    reply = search(birds, "a heron eats fish", retriever=retriever, top_k=2).json()
    assert reply["hits"][0]["passage"]["document_id"] == "heron.md"
    assert len(reply["hits"]) <= 2
    assert reply["usage"]["searches"] == 1


def test_filters_leave_documents_out(birds: RunningService) -> None:
    reply = search(birds, "a heron eats fish", where={"order": {"in": ["raptor", "owl"]}})
    found = {hit["passage"]["document_id"] for hit in reply.json()["hits"]}
    assert found == {"kite.md", "owl.md"}


@pytest.mark.parametrize("word", ["not", "and", "or"])
def test_filters_may_be_nested_so_deep_and_no_deeper(birds: RunningService, word: str) -> None:
    where: dict[str, Any] = {"legs": 2, "order": {"ne": "owl"}}
    for _ in range(15):
        where = {word: where if word == "not" else [where, {"legs": 2}], "legs": {"exists": True}}
    assert search(birds, "heron", where=where).status_code == 200
    deeper = search(birds, "heron", where={"not": where})
    assert deeper.status_code == 422
    assert "nested" in deeper.json()["error"]["message"]


def test_finding_nothing_is_no_error(birds: RunningService) -> None:
    reply = search(birds, "zymurgy", retriever="lexical")
    assert (reply.status_code, reply.json()["hits"]) == (200, [])


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"where": {"legs": {"about": 2}}}, 422, "no operator 'about'"),
        ({"where": {"or": []}}, 422, "list of filters"),
        ({"where": {"legs": {"in": 2}}}, 422, "takes a list"),
        ({"top_k": 0}, 422, "top_k"),
        ({"query": " "}, 422, "query"),
        ({"retriever": "psychic"}, 422, "retriever"),
        ({"collection": "fish"}, 404, "collection not found"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    birds: RunningService, request_: dict[str, Any], status: int, says: str
) -> None:
    reply = search(birds, **{"query": "heron"} | request_)
    assert reply.status_code == status
    assert says in reply.json()["error"]["message"]


def test_concurrent_searches_share_batches(birds: RunningService) -> None:
    shelf = birds.service.library["birds"]
    gated = GatedRetriever(shelf.retrievers["lexical"])
    shelf.retrievers["lexical"] = gated
    with ThreadPoolExecutor(9) as clients:
        asked = [
            clients.submit(search, birds, query, retriever="lexical")
            for query in ["heron", "kite", "owl"] * 3
        ]
        assert eventually(lambda: birds.service.admission.running == 9)
        gated.gate.set()
        found = [each.result().json()["hits"][0]["passage"]["title"] for each in asked]
    assert found == ["Heron", "Kite", "Owl"] * 3
    assert sum(gated.batches) == 9
    assert len(gated.batches) < 9


def test_a_search_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with RunningService(tmp_path, limits={"search_seconds": 0.1}) as running:
        add_birds(running)
        shelf = running.service.library["birds"]
        gated = shelf.retrievers["dense"] = GatedRetriever(shelf.retrievers["dense"])
        reply = search(running, "heron", retriever="dense")
        gated.gate.set()
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "deadline")
        assert eventually(lambda: running.service.admission.running == 0)


def test_a_failure_of_the_disk_is_told_without_paths(tmp_path: Path) -> None:
    with RunningService(tmp_path) as running:
        add_birds(running)
        collection = running.service.library["birds"].collection
        collection.close()
        reply = search(running, "heron")
    assert reply.status_code == 502
    assert str(collection.path) not in reply.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/collections/birds/search", {"query": "heron"}),
        ("/v1/answer", {"question": "heron?", "collection": "birds"}),
    ],
)
def test_a_collection_that_is_deleted_meanwhile_is_not_there(
    tmp_path: Path, path: str, body: dict[str, str]
) -> None:
    with RunningService(tmp_path) as running:
        add_birds(running)

        def deleted_meanwhile(*_: Any, **__: Any) -> Any:
            running.service.library.delete("birds")
            raise StorageError("store", "is gone")

        collection = running.service.library["birds"].collection
        collection.search_lexical = deleted_meanwhile  # type: ignore[method-assign]
        reply = running.client.post(path, json=body | {"retriever": "lexical"})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "collection_not_found"

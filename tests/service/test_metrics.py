from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rag.testing import ScriptedLLM
from tests.service.birds import QUESTION, REPLY, add_birds
from tests.service.running import RunningService

Samples = dict[tuple[str, tuple[str, ...]], float]


def scraped(running: RunningService) -> Samples:
    """Return the value of each metric, by its name and the values of its labels."""
    reply = running.client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(reply.text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def asked(tmp_path: Path):
    """A service that has been asked one question, and has searched once."""
    with RunningService(tmp_path, llm=ScriptedLLM(lambda _: REPLY)) as running:
        add_birds(running)
        question = {"question": QUESTION, "collection": "birds"}
        assert running.client.post("/v1/answer", json=question).status_code == 200
        found = running.client.post("/v1/collections/birds/search", json={"query": "owl"})
        assert found.status_code == 200
        yield running


def test_requests_are_counted_by_route(asked: RunningService) -> None:
    for path in ("/a", "/b", "/v1/collections/x/y/z"):
        asked.client.get(path)
    asked.client.request("BREW", "/v1/answer")
    asked.client.get("/v1/collections/none")
    metrics = scraped(asked)
    requests = {
        key: value for (name, key), value in metrics.items() if name == "rag_requests_total"
    }
    assert requests == {
        ("POST", "/v1/answer", "200"): 1,
        ("POST", "/v1/collections/{collection}/search", "200"): 1,
        ("GET", "none", "404"): 3,
        ("other", "/v1/answer", "405"): 1,
        ("GET", "/v1/collections/{collection}", "404"): 1,
    }
    assert metrics["rag_request_seconds_count", ("/v1/answer",)] == 2
    assert metrics["rag_requests_under_way", ()] == 1  # the one that asks


def test_operations_tokens_and_answers_are_counted(asked: RunningService) -> None:
    metrics = scraped(asked)
    assert metrics["rag_operations_total", ("retrieval", "done")] == 2
    assert metrics["rag_operations_total", ("chat", "done")] == 1
    assert metrics["rag_operation_seconds_total", ("chat",)] > 0
    assert metrics["rag_tokens_total", ("input",)] > 0
    assert metrics["rag_tokens_total", ("output",)] > 0
    assert metrics["rag_answers_total", ("read", "yes")] == 1


def test_what_there_is_now_is_asked_for(asked: RunningService) -> None:
    metrics = scraped(asked)
    assert metrics["rag_stored", ("collections",)] == 1
    assert metrics["rag_stored", ("documents",)] == 3
    assert metrics["rag_stored", ("passages",)] >= 3
    assert metrics["rag_admission", ("running",)] == metrics["rag_admission", ("waiting",)] == 0
    states = {key[0] for name, key in metrics if name == "rag_jobs"}
    assert states == {"queued", "running", "done", "failed", "cancelled"}
    assert metrics["process_resident_memory_bytes", ()] > 0


def test_no_label_is_a_name_that_somebody_chose(asked: RunningService) -> None:
    labels = {value for _, key in scraped(asked) for value in key}
    assert "birds" not in labels

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from rag.core.events import Event, Finished, Outcome, Started
from rag.core.search_operations import Search
from rag.core.usage import Usage
from rag.service import observing, request_record
from rag.service.metrics import Metrics
from rag.service.observing import observed
from rag.testing import ScriptedLLM
from tests.service.birds import QUESTION, REPLY, add_birds
from tests.service.doubles import eventually
from tests.service.running import RunningService

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What an SDK would export."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (observing, request_record):
        monkeypatch.setattr(module, "TRACER", provider.get_tracer("ragmeter"))
    yield exporter
    provider.shutdown()


def named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = (span for span in spans.get_finished_spans() if span.name == name)
    return found


def test_an_answer_is_a_trace(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    llm = ScriptedLLM(lambda _: REPLY)
    with RunningService(tmp_path, llm=llm) as running:
        add_birds(running)
        reply = running.client.post(
            "/v1/answer",
            json={"question": QUESTION, "collection": "birds"},
            headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
        assert reply.status_code == 200
        assert eventually(
            lambda: "POST /v1/answer" in {span.name for span in spans.get_finished_spans()}
        )
    request = named(spans, "POST /v1/answer")
    workflow = named(spans, "invoke_workflow read")
    search = named(spans, "retrieval")
    call = named(spans, f"chat {llm.name}")
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.kind is SpanKind.SERVER
    assert request.attributes["http.response.status_code"] == 200
    assert workflow.parent.span_id == request.context.span_id
    assert search.parent.span_id == call.parent.span_id == workflow.context.span_id
    assert search.attributes["db.response.returned_rows"] == len(reply.json()["hits"])
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert call.attributes["gen_ai.request.model"] == llm.name
    usage = reply.json()["usage"]
    assert call.attributes["gen_ai.usage.input_tokens"] == usage["input_tokens"]
    assert call.attributes["gen_ai.usage.output_tokens"] == usage["output_tokens"]
    assert workflow.attributes["rag.answer.supported"] is True
    told = " ".join(span.to_json() for span in spans.get_finished_spans())
    assert "heron" not in told
    assert "birds" not in told


def test_requests_that_fail_are_marked(
    spans: InMemorySpanExporter, running: RunningService
) -> None:
    running.app.router.add_api_route("/fails/{name}", fails)
    running.client.get("/fails/secret?secret=1")
    assert eventually(lambda: bool(spans.get_finished_spans()))
    span = named(spans, "GET /fails/{name}")
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in span.to_json()


async def fails() -> None:
    raise ValueError("secret")


def test_an_operation_that_fails_tells_its_kind_only(spans: InMemorySpanExporter) -> None:
    op, error = Search("secret query"), ValueError("secret reason")
    outcome = Outcome(None, error, Usage(), {})
    metrics = Metrics()
    events = [Started(op), Finished(op, error, Usage(searches=1)), outcome]
    assert asyncio.run(passed_on(events, metrics)) == events
    for name in ("retrieval", "invoke_workflow test"):
        span = named(spans, name)
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "ValueError"
        assert "secret" not in span.to_json()
    assert metrics.operations.labels("retrieval", "failed")._value.get() == 1


def test_what_is_closed_early_ends_its_spans_and_what_it_watches(
    spans: InMemorySpanExporter,
) -> None:
    closed = []

    async def endless() -> AsyncIterator[Event]:
        try:
            while True:
                yield Started(Search("query"))
        finally:
            closed.append(True)

    async def main() -> None:
        events = observed(endless(), Metrics(), name="test")
        await anext(events)
        await events.aclose()

    asyncio.run(main())
    assert closed == [True]
    assert {span.name for span in spans.get_finished_spans()} == {
        "retrieval",
        "invoke_workflow test",
    }


async def passed_on(events: list[Event], metrics: Metrics) -> list[Event]:
    async def each() -> AsyncIterator[Event]:
        for event in events:
            yield event

    return [event async for event in observed(each(), metrics, name="test")]

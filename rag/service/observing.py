"""What a program does, told to whoever watches: OpenTelemetry spans, and the metrics.

Only OpenTelemetry's API is used, so without an SDK in the process nothing is recorded and nothing
is sent. Names are those of OpenTelemetry's conventions where there are some. No question, text or
query is an attribute.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

import rag
from rag.core.answers import Answer
from rag.core.events import Event, Finished, Outcome, Started
from rag.core.operations import CountTokens, Generate, LeafOp, ModelOp, NextToken, Score
from rag.core.search_operations import Embed, Fetch, Search, SearchWeb
from rag.core.usage import Usage

if TYPE_CHECKING:
    from rag.core.protocols import LLM
    from rag.service.metrics import Metrics

TRACER = trace.get_tracer("ragmeter", rag.__version__)

_CALLS: tuple[tuple[type[LeafOp[Any]], str], ...] = (
    (Generate, "chat"),
    (Score, "score"),
    (NextToken, "next_token"),
    (CountTokens, "count_tokens"),
    (Embed, "embeddings"),
    (Search, "retrieval"),
    (SearchWeb, "search_web"),
    (Fetch, "fetch"),
)
"""What the conventions call operations, as far as they know them."""


async def observed(
    events: AsyncIterator[Event], metrics: Metrics, *, name: str, llm: LLM | None = None
) -> AsyncGenerator[Event, None]:
    """Pass on what happens while a program runs, and record it.

    Args:
        events: What the engine yields; closed with this iterator.
        metrics: Count it.
        name: What the program is, such as a pipeline's name; one of few.
        llm: The model of operations that name none.
    """
    run = _Run(metrics, name, llm)
    try:
        async for event in events:
            run.record(event)
            yield event
    finally:
        run.end()
        await events.aclose()  # type: ignore[attr-defined] # the engine's are generators


class _Run:
    """The spans of one program."""

    def __init__(self, metrics: Metrics, name: str, llm: LLM | None) -> None:
        self._metrics = metrics
        self._llm = llm
        self._name = name
        self._span = TRACER.start_span(
            f"invoke_workflow {name}",
            attributes={"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": name},
        )
        self._within = trace.set_span_in_context(self._span)
        self._open: dict[int, Span] = {}

    def record(self, event: Event) -> None:
        match event:
            case Started(op):
                self._open[id(op)] = self._started(op)
            case Finished(op, result, usage):
                self._finished(op, result, usage)
            case Outcome():
                self._ended(event)

    def end(self) -> None:
        for span in (*self._open.values(), self._span):
            span.end()

    def _started(self, op: LeafOp[Any]) -> Span:
        called = _called(op)
        model = _model(op, self._llm)
        attributes: dict[str, AttributeValue] = {"gen_ai.operation.name": called}
        if model:
            attributes["gen_ai.request.model"] = model
        if isinstance(op, Generate):
            attributes["gen_ai.request.max_tokens"] = op.sampling.max_tokens
            attributes["gen_ai.request.temperature"] = op.sampling.temperature
        return TRACER.start_span(
            f"{called} {model}" if model else called,
            context=self._within,
            kind=SpanKind.CLIENT,
            attributes=attributes | {"rag.stage": op.stage},
        )

    def _finished(self, op: LeafOp[Any], result: Any, usage: Usage) -> None:
        kind, failed = _called(op), isinstance(result, Exception)
        self._metrics.operations.labels(kind, "failed" if failed else "done").inc()
        self._metrics.operation_seconds.labels(kind).inc(usage.seconds)
        self._metrics.count_tokens(usage)
        span = self._open.pop(id(op), None)
        if span is None:
            return
        if failed:
            _fail(span, result)
        elif isinstance(op, Search):
            span.set_attribute("db.response.returned_rows", len(result))
        _use(span, usage)
        span.end()

    def _ended(self, outcome: Outcome[Any]) -> None:
        _use(self._span, outcome.usage)
        if outcome.error is not None:
            _fail(self._span, outcome.error)
        elif isinstance(outcome.value, Answer):
            supported = "yes" if outcome.value.supported else "no"
            self._span.set_attribute("rag.answer.supported", outcome.value.supported)
            self._metrics.answers.labels(self._name, supported).inc()


def _called(op: LeafOp[Any]) -> str:
    return next((name for kind, name in _CALLS if isinstance(op, kind)), "other")


def _model(op: LeafOp[Any], default: Any) -> str | None:
    """Return the name of the model that carries an operation out."""
    if isinstance(op, ModelOp):
        return getattr(op.backend or default, "name", None)
    return op.backend.name if isinstance(op, Embed) else None


def _use(span: Span, usage: Usage) -> None:
    if usage.calls:
        span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)


def _fail(span: Span, error: Exception) -> None:
    """Mark a span as failed; the message may quote texts, so only the kind is told."""
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(StatusCode.ERROR)

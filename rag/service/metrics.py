"""What the service counts, for Prometheus.

Labels take few values: routes and not paths, kinds of operations, names of the settings; never a
collection, a key or anything that somebody sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from rag.core.usage import Usage
from rag.service.schemas import JobState

if TYPE_CHECKING:
    from rag.service.service import Service

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "rag_requests", "Requests.", ("method", "route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "rag_request_seconds",
            "Seconds until a reply had been sent, streams included.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests_under_way = Gauge(
            "rag_requests_under_way", "Requests that are being answered.", registry=registry
        )
        self.operations = Counter(
            "rag_operations",
            "Operations: searches, calls of models, pages fetched.",
            ("operation", "outcome"),
            registry=registry,
        )
        self.operation_seconds = Counter(
            "rag_operation_seconds",
            "Seconds of backends; a batch's are divided evenly among its operations.",
            ("operation",),
            registry=registry,
        )
        self._tokens = Counter(
            "rag_tokens",
            "Tokens that language models read, those of them that were cached, and tokens written.",
            ("kind",),
            registry=registry,
        )
        self.answers = Counter(
            "rag_answers",
            "Answers, and whether documents or pages support them: 'yes' or 'no'.",
            ("pipeline", "supported"),
            registry=registry,
        )
        self._admitted = Gauge(
            "rag_admission",
            "Searches and answers that are worked on, and that wait for a place.",
            ("state",),
            registry=registry,
        )
        self._jobs = Gauge(
            "rag_jobs", "Jobs that are kept, by state.", ("state",), registry=registry
        )
        self._stored = Gauge(
            "rag_stored", "Collections, documents and passages.", ("kind",), registry=registry
        )

    def count_tokens(self, usage: Usage) -> None:
        """Add the tokens of an operation."""
        self._tokens.labels("input").inc(usage.input_tokens)
        self._tokens.labels("cached").inc(usage.cached_tokens)
        self._tokens.labels("output").inc(usage.output_tokens)

    def text(self, service: Service) -> bytes:
        """Return all of it as Prometheus reads it.

        Args:
            service: The service; what it holds just now is asked for.
        """
        self._admitted.labels("running").set(service.admission.running)
        self._admitted.labels("waiting").set(service.admission.waiting)
        with service.database.read() as connection:
            jobs = dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state"))
        for state in get_args(JobState):
            self._jobs.labels(state).set(jobs.get(state, 0))
        infos = [shelf.collection.info() for shelf in service.library]
        self._stored.labels("collections").set(len(infos))
        self._stored.labels("documents").set(sum(info.documents for info in infos))
        self._stored.labels("passages").set(sum(info.passages for info in infos))
        return generate_latest(self._registry)

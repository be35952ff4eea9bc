"""Uploads and their jobs, as tests use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any

import httpx2

from rag.core.progress import Progress, silent
from rag.core.protocols import Vectors
from rag.testing import HashEmbedder


class GatedEmbedder(HashEmbedder):
    """Embeds passages once its gate is open, telling of its progress while it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Event()
        self.gate = Event()

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        if texts:
            self.waiting.set()
            while not self.gate.wait(0.01):
                progress("embedding", 0, len(texts))
        return super().embed_passages(texts, progress)


def upload(
    client: httpx2.Client, files: Mapping[str, str | bytes], collection: str = "handbook"
) -> httpx2.Response:
    """Upload files."""
    form = [
        ("files", (name, data.encode() if isinstance(data, str) else data))
        for name, data in files.items()
    ]
    return client.post(f"/v1/collections/{collection}/documents", files=form)


def until(true: Callable[[], object]) -> None:
    """Wait until something is true."""
    for _ in range(4000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it did not become true")


def ended(client: httpx2.Client, job: str) -> Any:
    """Return a job once it has ended."""
    until(lambda: client.get(f"/v1/jobs/{job}").json()["finished"])
    return client.get(f"/v1/jobs/{job}").json()


def uploaded(
    client: httpx2.Client, files: Mapping[str, str | bytes], collection: str = "handbook"
) -> Any:
    """Upload files, and return the job once it has ended."""
    reply = upload(client, files, collection)
    assert reply.status_code == 202, reply.text
    return ended(client, reply.json()["id"])


def names(client: httpx2.Client, collection: str = "handbook") -> list[str]:
    """Return the ids of all documents."""
    page = client.get(f"/v1/collections/{collection}/documents", params={"limit": 1000}).json()
    assert page["next"] is None
    return [each["id"] for each in page["documents"]]

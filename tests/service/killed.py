"""A service in a process of its own, which can be killed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rag.core.progress import Progress, silent
from rag.core.protocols import Vectors
from rag.service import indexing
from rag.testing import HashEmbedder
from tests.service.running import RunningService

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "tantivy", "rag.indexes.faiss_create"])

POISON = "poison.txt"
"""A file whose reader ends the process."""


class SlowEmbedder(HashEmbedder):
    """Takes a while for each passage."""

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        time.sleep(0.1 * len(texts))
        return super().embed_passages(texts, progress)


def serve(data: Path, to: Connection) -> None:
    """Serve until killed.

    Args:
        data: The service's folder.
        to: Where the service's URL is sent.
    """
    load = indexing.load

    def load_or_die(path: Path, *, name: str, **options: Any) -> Any:
        if name == POISON:
            os._exit(9)
        return load(path, name=name, **options)

    indexing.load = load_or_die
    with RunningService(data, embedder=SlowEmbedder()) as running:
        to.send(running.url)
        threading.Event().wait()

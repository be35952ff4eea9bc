"""Backends that wait for the test, and remember what was asked of them."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from rag.core.filters import Where
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.protocols import Retriever
from rag.testing import EchoLLM


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something holds, for ten seconds at most."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


class EndlessLLM(EchoLLM):
    """Writes a word each time that somebody asks for one; `closed` says that nobody will."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.closed = threading.Event()

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        try:
            while self.written < 10_000:
                self.written += 1
                yield "word "
                time.sleep(0.002)
        finally:
            self.closed.set()


class GatedLLM(EchoLLM):
    """Replies once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        assert self.gate.wait(30)
        return super().generate(prompts, sampling)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        assert self.gate.wait(30)
        yield from super().stream(prompt, sampling)


class GatedRetriever:
    """Searches as another retriever does, once the gate is open; keeps the size of each batch."""

    def __init__(self, inner: Retriever) -> None:
        self.name = inner.name
        self.gate = threading.Event()
        self.batches: list[int] = []
        self._inner = inner

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        self.batches.append(len(queries))
        assert self.gate.wait(30)
        return self._inner.search_many(queries, top_k, where)

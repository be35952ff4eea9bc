import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest

from rag.models.http import transport
from tests.models.http.faulty_server import FaultyServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A server that does what it is told to; whoever asks it pauses briefly between attempts."""
    monkeypatch.setattr(transport, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(transport, "_JITTER", 0.01)
    monkeypatch.delenv("RAG_API_KEY", raising=False)
    faulty = FaultyServer()
    yield faulty
    faulty.close()


@pytest.fixture(scope="session")
def llama_cpp() -> Iterator[str]:
    """The base URL of a real llama.cpp server with SmolLM2."""
    pytest.importorskip("xllamacpp")
    command = [sys.executable, "-m", "tests.models.http.llama_server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        while httpx2.get(f"{url}/health", trust_env=False).status_code != 200:
            time.sleep(0.05)
        yield f"{url}/v1"
        server.stdin.close()

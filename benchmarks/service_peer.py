"""txtai's API in a process of its own, over the same passages and the same weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

from rag.models.registry import DEFAULT_EMBEDDER, resolve

_BUILD = """
import json, sys
from txtai import Embeddings
config, index = json.loads(sys.argv[1]), sys.argv[2]
embeddings = Embeddings(config)
embeddings.index(json.load(sys.stdin).items())
embeddings.save(index)
"""
_START_SECONDS = 120


@contextmanager
def txtai_served(python: Path, texts: Mapping[str, str], work: Path) -> Iterator[str]:
    """Serve texts with txtai's API.

    Args:
        python: An interpreter that has `txtai[api]`.
        texts: The texts by id.
        work: Where the index is kept for the next time.

    Yields:
        Its URL.
    """
    # With content, as a service needs that shows what it found; exact, as ours is at this size.
    config = {
        "path": str(resolve(DEFAULT_EMBEDDER, "embedder", offline=True)),
        "content": True,
        "backend": "faiss",
        "faiss": {"components": "IDMap,Flat"},
    }
    index = (work / f"txtai-{len(texts)}").resolve()
    if not index.exists():
        subprocess.run(
            [python, "-c", _BUILD, json.dumps(config), index],
            input=json.dumps(dict(texts)),
            text=True,
            check=True,
        )
    settings = work / "txtai.yml"  # YAML reads JSON
    settings.write_text(json.dumps({"path": str(index), "embeddings": config}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, "-m", "uvicorn", "txtai.api:app", "--port", str(port)]
    environment = {**os.environ, "CONFIG": str(settings.resolve())}
    with subprocess.Popen([*command, "--log-level", "error"], env=environment) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process)
            yield url
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx2.get(f"{url}/count", timeout=5).raise_for_status()
        except httpx2.TransportError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("txtai did not start")


def txtai_ids(url: str, query: str, top_k: int) -> list[str]:
    """Return the ids that txtai finds."""
    reply = httpx2.get(f"{url}/search", params={"query": query, "limit": top_k}, timeout=60)
    return [each["id"] for each in reply.raise_for_status().json()]

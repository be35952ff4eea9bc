"""The service in a process of its own, with a second way to search beside its own.

    python -m benchmarks.service_process DATA [SOURCE…] [--port 0] [--doubles]

It runs as `rag serve` runs it. What is added is `/direct/{collection}/search`: each request
searches by itself, in a thread of the pool, as services commonly do. All else about the two is the
same: middleware, access, admission, schemas, the retriever.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from rag import load_embedder
from rag.core.usage import Usage
from rag.service.answer_schemas import SearchReply, SearchRequest
from rag.service.app import create_app
from rag.service.dependencies import Admitted, Reader, ServiceDep
from rag.service.logs import configure_logs
from rag.service.serving import ServiceServer, bound, keep_loaded
from rag.service.settings import Name, load_settings
from rag.testing import EchoLLM, HashEmbedder


@contextmanager
def served(
    data: Path, *sources: Path, doubles: bool = False, port: int = 0
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the service in another process.

    Args:
        data: Its folder.
        sources: Collections to serve.
        doubles: Whether its models are `HashEmbedder` and `EchoLLM`, which load at once.
        port: Where it listens; 0 takes a port that is free.

    Yields:
        Its URL, and the process.
    """
    command = [sys.executable, "-m", "benchmarks.service_process", str(data), *map(str, sources)]
    command += ["--port", str(port), *(["--doubles"] if doubles else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise SystemExit(f"the service did not start: {process.wait()}")
            yield url, process
        finally:
            process.terminate()


def add_direct_search(app: FastAPI) -> None:
    """Add the route where each request searches by itself."""

    @app.post("/direct/{collection}/search")
    async def search(
        service: ServiceDep, caller: Reader, _: Admitted, collection: Name, request: SearchRequest
    ) -> SearchReply:
        caller.check(collection)
        retriever = service.library[collection].retrievers[request.retriever]
        hits = await run_in_threadpool(
            retriever.search, request.query, request.top_k, request.where
        )
        return SearchReply(hits=tuple(hits), usage=Usage(searches=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the URL and serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--doubles", action="store_true", help="models that need no weights")
    args = parser.parse_args(arguments)

    settings = load_settings(
        None, data=args.data, server={"port": args.port}, logs={"level": "warning"}
    )
    configure_logs(settings.logs)
    embedder = HashEmbedder(1024) if args.doubles else load_embedder()
    llm = EchoLLM() if args.doubles else None
    if llm is not None:
        llm.calls = deque(maxlen=0)  # type: ignore[assignment] # for tests it keeps every prompt
    app = create_app(settings, embedder, llm, sources=args.sources)
    add_direct_search(app)
    with bound(settings.server) as listener:
        keep_loaded()
        url = "http://{}:{}".format(*listener.getsockname())
        ServiceServer(app, settings, lambda: print(url, flush=True)).run_on(listener)


if __name__ == "__main__":
    main()

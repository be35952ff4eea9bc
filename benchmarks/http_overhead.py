"""What a call through `OpenAICompatibleLLM` takes beyond the time the server itself needs.

    python -m benchmarks.http_overhead --calls 640 --callers 32

A server in a process of its own waits a fixed time and some jitter, as a model would, and says in
its answer when it had the request and when it answered. Added time is what the caller waited
less the time between the two. In a batch, a call waits from the start until the server has it, and
again from the server's last answer until the batch is back. Both are compared with bare httpx2,
the first also with the `openai` client where that is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import httpx2

from rag.core.generation import Prompt, Sampling
from rag.models.http import OpenAICompatibleLLM

TEXT = "Where is the tower? " * 100
BODY = {"model": "model", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 64}
Call = Callable[[], str]
"""Makes one call and returns the two times that the server told."""
Batch = Callable[[int], list[str]]
"""Makes some calls at once and returns the times of each."""


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float, jitter: float
) -> None:
    """Answer the requests of a connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            started = time.perf_counter()
            data: dict[str, object] = {"data": [{"id": "model"}]}
            if head.startswith("post"):
                await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
                await asyncio.sleep(seconds + random.uniform(0, jitter))
                times = f"{started} {time.perf_counter()}"
                choice = {
                    "index": 0,
                    "message": {"role": "assistant", "content": times},
                    "finish_reason": "stop",
                }
                usage = {"prompt_tokens": 500, "completion_tokens": 10, "total_tokens": 510}
                data = {
                    "id": "reply",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "model",
                    "choices": [choice],
                    "usage": usage,
                }
            content = json.dumps(data).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
                + str(len(content)).encode()
                + b"\r\n\r\n"
                + content
            )
    except asyncio.IncompleteReadError:
        writer.close()


async def serve(seconds: float, jitter: float) -> None:
    """Print the port and serve for ever."""
    server = await asyncio.start_server(
        lambda reader, writer: answer(reader, writer, seconds, jitter), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def from_threads(call: Call, callers: int, calls: int) -> list[float]:
    """Return the added seconds of calls that some threads make one after the other."""

    def added(_: int) -> float:
        started = time.perf_counter()
        had, answered = told(call())
        return time.perf_counter() - started - (answered - had)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(added, range(callers)))  # opens the connections
        return list(pool.map(added, range(calls)))


def from_batches(make: Batch, size: int, calls: int) -> list[float]:
    """Return the added seconds of calls that are made in batches."""
    added: list[float] = []
    make(size)  # opens the connections
    for _ in range(max(1, calls // size)):
        started = time.perf_counter()
        times = [told(each) for each in make(size)]
        back = time.perf_counter() - max(answered for _, answered in times)
        added += [had - started + back for had, _ in times]
    return added


def told(times: str) -> tuple[float, float]:
    """Return when the server had a request and when it answered, by the clock of all processes."""
    had, answered = map(float, times.split())
    return had, answered


def with_llm(llm: OpenAICompatibleLLM) -> Batch:
    """Return what calls the backend."""
    sampling = Sampling(max_tokens=64)
    return lambda size: [each.text for each in llm.generate([Prompt(TEXT)] * size, sampling)]


def content_of(response: httpx2.Response) -> str:
    """Return the text of a reply."""
    return str(response.json()["choices"][0]["message"]["content"])


def with_openai(url: str) -> Call:
    """Return what calls the server through the `openai` client."""
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="none")
    return lambda: str(client.chat.completions.create(**BODY).choices[0].message.content)


def main() -> None:
    """Run the calls and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=640, help="of each client")
    parser.add_argument("--callers", type=int, default=32, help="calls at once")
    parser.add_argument("--seconds", type=float, default=0.2, help="that an answer takes at least")
    parser.add_argument("--jitter", type=float, default=0.2, help="seconds more at most")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.seconds, options.jitter))
    command = [sys.executable, "-m", "benchmarks.http_overhead", "--serve"]
    command += ["--seconds", str(options.seconds), "--jitter", str(options.jitter)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            measure(f"http://127.0.0.1:{int(server.stdout.readline())}/v1", options)
        finally:
            server.terminate()


def measure(url: str, options: argparse.Namespace) -> None:
    """Measure each client, and print its added milliseconds."""
    callers, calls = options.callers, options.calls
    path = f"{url}/chat/completions"
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=callers)
    with (
        httpx2.Client(trust_env=False, timeout=60, limits=limits) as client,
        OpenAICompatibleLLM(url, context_window=100_000, concurrency=callers) as llm,
        asyncio.Runner() as runner,
    ):
        batch = with_llm(llm)
        threads = {
            "httpx2": from_threads(
                lambda: content_of(client.post(path, json=BODY)), callers, calls
            ),
            "OpenAICompatibleLLM": from_threads(lambda: batch(1)[0], callers, calls),
        }
        if find_spec("openai"):
            threads["openai"] = from_threads(with_openai(url), callers, calls)
        bare = httpx2.AsyncClient(trust_env=False, timeout=60, limits=limits)

        async def at_once(size: int) -> list[str]:
            answers = await asyncio.gather(*(bare.post(path, json=BODY) for _ in range(size)))
            return [content_of(each) for each in answers]

        batches = {
            "httpx2": from_batches(lambda size: runner.run(at_once(size)), callers, calls),
            "OpenAICompatibleLLM": from_batches(batch, callers, calls),
        }
        runner.run(bare.aclose())
    show(f"{callers} threads", threads)
    show(f"batches of {callers}", batches)


def show(how: str, results: dict[str, list[float]]) -> None:
    """Print the added milliseconds of each client, and their ratio to bare httpx2."""
    print(f"{'added ms a call, ' + how:34} {'mean':>7} {'p50':>7} {'p95':>7} {'to httpx2':>10}")
    for name, times in results.items():
        ordered = sorted(1000 * seconds for seconds in times)
        mean = statistics.mean(ordered)
        p50, p95 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95))
        ratio = mean / (1000 * statistics.mean(results["httpx2"]))
        print(f"{name:34} {mean:7.2f} {p50:7.2f} {p95:7.2f} {ratio:10.2f}")


if __name__ == "__main__":
    main()

"""Clients that search one after the other, many at once, from a process of their own.

    python -m benchmarks.service_load < plan.json

Clients of a closed loop: each sends its next request when it has the reply to its last. Requests
are written and replies split by hand over plain sockets, so that the clients take little of the
cores that they share with the service; how much they took is part of what they tell.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any
from urllib.parse import urlsplit

Request = tuple[str, str, object]
"""Method, path and JSON body (None for none)."""


@dataclass(frozen=True)
class Load:
    """What clients met.

    Args:
        milliseconds: Latencies of the replies with status 200, in ascending order.
        failures: How many requests ended otherwise, by status or kind of error.
        seconds: How long it was measured.
        client_share: Processor time of the clients in that time, as a share of one core.
    """

    milliseconds: list[float]
    failures: dict[str, int]
    seconds: float
    client_share: float

    @property
    def per_second(self) -> float:
        """Replies with status 200 per second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        return self.milliseconds[round(percent / 100 * (len(self.milliseconds) - 1))]


def load(
    url: str,
    requests: Sequence[Request],
    *,
    clients: int = 32,
    warm: float = 1,
    seconds: float = 5,
) -> Load:
    """Put a load on a service, from another process.

    Args:
        url: The service.
        requests: The requests; clients take the next one in turn, and begin anew after the last.
        clients: Requests under way at once.
        warm: Seconds of the load before it is measured.
        seconds: Seconds that are measured.
    """
    host = urlsplit(url).netloc
    plan = {
        "host": host,
        "requests": [_as_sent(host, *each) for each in requests],
        "clients": clients,
        "warm": warm,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.service_load"],
        input=json.dumps(plan),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Load(**json.loads(done.stdout))


def _as_sent(host: str, method: str, path: str, body: object) -> str:
    content = "" if body is None else json.dumps(body)  # ASCII
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head + content


async def _measured(
    host: str, requests: Sequence[str], clients: int, warm: float, seconds: float
) -> Load:
    """Run the clients in this process."""
    turns = itertools.cycle([each.encode() for each in requests])
    begin = time.perf_counter() + warm
    end = begin + seconds
    milliseconds: list[float] = []
    failures: Counter[str] = Counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        try:
            while (sent := time.perf_counter()) < end:
                status = await _exchange(reader, writer, next(turns))
                now = time.perf_counter()
                if not begin <= now < end:
                    continue
                if status == "200":
                    milliseconds.append(1000 * (now - sent))
                else:
                    failures[status] += 1
        except (OSError, EOFError) as error:
            failures[type(error).__name__] += 1
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
        await asyncio.sleep(warm)
        used = time.process_time()
        await asyncio.sleep(seconds)
        used = time.process_time() - used
    return Load(sorted(milliseconds), dict(failures), seconds, used / seconds)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> str:
    """Send a request, read the whole reply, and return its status."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, length = head.partition(b"content-length: ")
    if not length:
        raise EOFError("a reply without a length")
    await reader.readexactly(int(length.partition(b"\r")[0]))
    return head.split(maxsplit=2)[1].decode()


def alternating(
    services: Mapping[str, tuple[str, Sequence[Request]]], rounds: int, **options: Any
) -> dict[str, list[Load]]:
    """Put the same load on each service in turn, so that all of them meet the same machine.

    Args:
        services: URL and requests of each.
        rounds: How often each has its turn.
        options: Further arguments of `load`.
    """
    loads: dict[str, list[Load]] = {name: [] for name in services}
    order = list(services)
    for _ in range(rounds):
        for name in order:
            loads[name].append(load(*services[name], **options))
        order.append(order.pop(0))
    return loads


def figures(name: str, loads: Sequence[Load]) -> dict[str, Any]:
    """Return the figures of several turns of a service: medians, and the sum of failures."""
    failed = sum((Counter(each.failures) for each in loads), Counter[str]())
    return {
        "": name,
        "requests/s": median(each.per_second for each in loads),
        **{f"p{at} ms": median(each.percentile(at) for each in loads) for at in (50, 95, 99)},
        "failed": failed.total(),
        "cores of the clients": median(each.client_share for each in loads),
    }


if __name__ == "__main__":
    json.dump(asdict(asyncio.run(_measured(**json.load(sys.stdin)))), sys.stdout)

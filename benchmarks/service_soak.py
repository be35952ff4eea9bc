"""Mixed traffic on a service that is killed again and again.

Clients search, ask, upload, replace and delete side by side, while SIGKILL ends the process at
random moments and it is started anew. Each text has a word of its own: from the moment that its job
is done, a search for the word has to find its document and no other; from the moment that its
deletion is acknowledged, none. In the end the service is left alone for a while, to see whether its
memory stays, and is asked for everything once more. Models are doubles, so that it turns over
quickly.
"""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import httpx2
import numpy as np

from benchmarks.service_ledger import Ledger, Text
from benchmarks.service_process import served

COLLECTION = "handbook"
MOST_STORED = 200
"""Texts above which more is deleted than added."""
CALM = 0.5
"""Share of the time, at its end, in which nothing is killed."""
LIFE = (3.0, 20.0)
"""Seconds after which the process is killed, at least and at most."""
MOST_GROWTH = 0.05
"""Share by which memory may differ between the last two quarters of the calm; before, it fills its
caches, of which each thread has its own."""
_PAUSE = 0.02
_MOST_SECONDS = 120


@dataclass
class Run:
    """The state of a run, which its clients share."""

    url: str
    ledger: Ledger = field(default_factory=Ledger)
    over: Event = field(default_factory=Event)
    milliseconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    cut_off: Counter[str] = field(default_factory=Counter)
    lives: list[list[tuple[float, float]]] = field(default_factory=list)

    def call(self, client: httpx2.Client, kind: str, *given: Any, **options: Any) -> Any:
        """Send a request until it is answered; kills cut it off, and it is sent again."""
        end = time.monotonic() + _MOST_SECONDS
        while True:
            began = time.perf_counter()
            try:
                reply = client.request(*given, **options)
            except httpx2.TransportError as error:
                if time.monotonic() > end:
                    raise SystemExit(f"{kind}: no reply within {_MOST_SECONDS} s") from error
                self.cut_off[kind] += 1
                time.sleep(_PAUSE)
                continue
            self.milliseconds[kind].append(1000 * (time.perf_counter() - began))
            if reply.status_code >= 500:
                self.ledger.violations.append(f"{kind}: {reply.status_code} {reply.text[:200]}")
            return reply


def soak(minutes: float, seed: int) -> dict[str, Any]:
    """Run it, and return its figures.

    Args:
        minutes: How long.
        seed: Decides what is done and when the process is killed.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = Run(f"http://127.0.0.1:{port}")
    random = Random(seed)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(len(_CLIENTS)) as pool:
        data = Path(folder)
        with served(data, doubles=True, port=port):
            httpx2.post(f"{run.url}/v1/collections", json={"name": COLLECTION}).raise_for_status()
        clients = [
            pool.submit(_repeat, run, client, Random(f"{seed} {number}"))
            for number, client in enumerate(_CLIENTS)
        ]
        end = time.monotonic() + 60 * minutes
        calm = end - CALM * 60 * minutes
        try:
            while time.monotonic() < calm:
                with served(data, doubles=True, port=port) as (_, process):
                    run.lives.append(_watch(process.pid, random.uniform(*LIFE)))
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            with served(data, doubles=True, port=port) as (_, process):
                run.lives.append(_watch(process.pid, end - time.monotonic()))
                run.over.set()
                for client in clients:
                    client.result()
                _check_everything(run)
        finally:
            run.over.set()
    return _result(run)


def _watch(pid: int, seconds: float) -> list[tuple[float, float]]:
    """Return the age of a process in seconds and its resident megabytes, again and again."""
    begin = time.monotonic()
    seen = []
    while (age := time.monotonic() - begin) < seconds:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        seen.append((age, pages * 4096 / 1e6))
        time.sleep(min(0.25, seconds - age))
    return seen


def _repeat(run: Run, client: Callable[[Run, httpx2.Client, Random], None], random: Random) -> None:
    while not run.over.is_set():
        with httpx2.Client(base_url=run.url, timeout=30) as connection:
            client(run, connection, random)
        time.sleep(_PAUSE)


def _upload(run: Run, client: httpx2.Client, random: Random) -> None:
    """Upload some texts, new ones or in place of others, and wait until they are indexed."""
    if run.ledger.count("stored") > MOST_STORED:
        return
    replaced = run.ledger.claim(random) if random.random() < 0.3 else None
    number = random.getrandbits(64)
    names = [f"notes/{number:x}-{each}.md" for each in range(random.randint(1, 4))]
    if replaced is not None:
        names[0] = replaced.name
    texts = [run.ledger.send(name) for name in names]
    files = [("files", (text.name, _content(text), "text/markdown")) for text in texts]
    path = f"/v1/collections/{COLLECTION}/documents"
    reply = run.call(client, "upload", "POST", path, files=files)
    if reply.status_code != 202:
        run.ledger.violations.append(f"upload: {reply.status_code} {reply.text[:200]}")
        return
    end = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < end:
        job = run.call(client, "job", "GET", f"/v1/jobs/{reply.json()['id']}")
        if job.json().get("state") == "done":
            for text in texts:
                run.ledger.set(text, "stored")
            if replaced is not None:
                run.ledger.set(replaced, "deleted")
            return
        time.sleep(_PAUSE)
    run.ledger.violations.append(f"a job is not done after {_MOST_SECONDS} s: {job.text}")


def _content(text: Text) -> bytes:
    return f"# About {text.word}\n\nThe {text.word} is one of many things to know.\n".encode()


def _delete(run: Run, client: httpx2.Client, random: Random) -> None:
    """Delete a text."""
    if run.ledger.count("stored") < MOST_STORED / 2:
        return
    text = run.ledger.claim(random)
    if text is None:
        return
    path = f"/v1/collections/{COLLECTION}/document"
    reply = run.call(client, "delete", "DELETE", path, params={"id": text.name})
    # 404 where it was deleted by a request whose reply a kill cut off.
    if reply.status_code in (204, 404):
        run.ledger.set(text, "deleted")


def _search(run: Run, client: httpx2.Client, random: Random) -> None:
    """Search for the word of a text."""
    text = run.ledger.choose(random)
    if text is not None:
        _check(run, client, text, random.choice(("lexical", "hybrid")))


def _check(run: Run, client: httpx2.Client, text: Text, retriever: str) -> None:
    path = f"/v1/collections/{COLLECTION}/search"
    body = {"query": text.word, "retriever": retriever}
    with run.ledger.checking(text) as found:
        reply = run.call(client, f"search, {retriever}", "POST", path, json=body)
        hits = [hit["passage"] for hit in reply.json()["hits"]]
        if retriever == "lexical":  # finds what has the word, and nothing else
            found.append(bool(hits))
            if any(hit["document_id"] != text.name for hit in hits) or len(hits) > 1:
                run.ledger.violations.append(f"a search for '{text.word}' found {hits}")
        else:
            found.append(any(text.word in hit["text"] for hit in hits))


def _ask(run: Run, client: httpx2.Client, random: Random) -> None:
    """Ask about a text."""
    text = run.ledger.choose(random)
    if text is None:
        return
    body = {"question": f"What is {text.word}?", "collection": COLLECTION}
    with run.ledger.checking(text) as found:
        reply = run.call(client, "answer", "POST", "/v1/answer", json=body)
        hits = reply.json()["hits"]
        found.append(any(text.word in hit["passage"]["text"] for hit in hits))


_CLIENTS = (_upload, _upload, _delete, _search, _search, _ask)


def _check_everything(run: Run) -> None:
    """Check all texts whose state is known, by search and in the list of documents."""
    ledger = run.ledger
    with httpx2.Client(base_url=run.url, timeout=30) as client:
        for text in ledger.all():
            if text.state != "changing":
                _check(run, client, text, "lexical")
        listed: set[str] = set()
        after = "0"
        while after is not None:
            path = f"/v1/collections/{COLLECTION}/documents"
            page = client.get(path, params={"limit": 100, "after": after}).json()
            listed |= {each["id"] for each in page["documents"]}
            after = page["next"]
    may_be = {text.name for text in ledger.all() if text.state != "deleted"}
    have_to_be = {text.name for text in ledger.all() if text.state == "stored"}
    ledger.violations += [f"not listed: {name}" for name in have_to_be - listed]
    ledger.violations += [f"listed though deleted: {name}" for name in listed - may_be]


def _result(run: Run) -> dict[str, Any]:
    rows = []
    for kind, times in sorted(run.milliseconds.items()):
        p50, p95, p99 = np.percentile(times, (50, 95, 99))
        figures = {"": kind, "replies": len(times), "p50 ms": p50, "p95 ms": p95, "p99 ms": p99}
        rows.append({**figures, "cut off": run.cut_off[kind]})
    young = [max(mb for _, mb in life) for life in run.lives[:-1]]
    early, late = _settled(run.lives[-1])
    stored, deleted = run.ledger.count("stored"), run.ledger.count("deleted")
    return {
        "rows": rows,
        "ratios": {
            "kills": len(run.lives) - 1,
            "texts stored in the end": stored,
            "texts deleted or replaced": deleted,
            "MB at most before the first kill": young[0],
            "MB at most before the last kill": young[-1],
            "MB in the third quarter of the calm": early,
            "MB in its last quarter": late,
        },
        "violations": run.ledger.violations[:20],
        "bars": {
            "nothing lost, nothing found that was deleted": not run.ledger.violations,
            "memory flat": late < (1 + MOST_GROWTH) * early,
        },
    }


def _settled(life: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the median megabytes of the third and of the last quarter of a life."""
    quarter = len(life) // 4
    megabytes = [each for _, each in life]
    return median(megabytes[2 * quarter : 3 * quarter]), median(megabytes[-quarter:])

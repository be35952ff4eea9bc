"""The service under load: what micro-batches are worth, beside a peer, and killed again and again.

    python -m benchmarks.service search FOLDER… [--clients 32] [--rounds 5] [--json]
    python -m benchmarks.service peer FOLDER… --txtai PYTHON [--json]
    python -m benchmarks.service soak [--minutes 10] [--seed 0] [--json]

The folders are data sets; 10,000 passages of their text are embedded by the default embedder (once,
then kept in the work folder), and their questions are the queries. Clients are a process of their
own, and each sends its next query when it has the reply to its last.

- `search` compares the service with the same application where each request searches by itself in
  a thread, as services commonly do. They take turns, so that both meet the same machine.
- `peer` compares it with txtai's API over the same passages and the same weights, both with an
  exact index. Two passages of ten that differ are told: they are what the number formats differ by.
- `soak` is mixed traffic and SIGKILL; see `benchmarks.service_soak`.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import httpx2
from rich.console import Console
from rich.table import Table

from benchmarks.service_corpus import build, folders_of, passages, queries
from benchmarks.service_load import Request, alternating, figures
from benchmarks.service_peer import txtai_ids, txtai_served
from benchmarks.service_process import served
from benchmarks.service_soak import soak
from rag import Collection, load_embedder

TOP_K = 10
COMPARED = 200
"""Queries whose hits are compared with the peer's."""
MOST_P95 = 150
"""Milliseconds that searches of 32 clients may take."""


def measure_search(args: argparse.Namespace) -> dict[str, Any]:
    """Measure searches with and without micro-batches."""
    collection = _built(args)
    with TemporaryDirectory() as data, served(Path(data), collection) as (url, _):
        routes = {"micro-batches": "/v1/collections", "each by itself": "/direct"}
        found = alternating(
            {name: (url, _searches(args, path, collection)) for name, path in routes.items()},
            args.rounds,
            clients=args.clients,
            seconds=args.seconds,
        )
    batched, alone = rows = [figures(name, runs) for name, runs in found.items()]
    return {
        "rows": rows,
        "ratios": {
            "p95, to each by itself": batched["p95 ms"] / alone["p95 ms"],
            "searches/s, to each by itself": batched["requests/s"] / alone["requests/s"],
        },
        "bars": {
            f"p95 under {MOST_P95} ms": batched["p95 ms"] < MOST_P95,
            "p95 at most half of that of each by itself": (
                batched["p95 ms"] <= alone["p95 ms"] / 2
            ),
            "no throughput lost": batched["requests/s"] >= alone["requests/s"],
            "nothing failed": not batched["failed"] + alone["failed"],
        },
    }


def measure_peer(args: argparse.Namespace) -> dict[str, Any]:
    """Measure searches beside txtai's API."""
    collection = _built(args)
    with Collection.open(collection) as opened:
        texts = {each.document_id: each.indexed_text for each in opened.passages()}
    asked = queries(args.folders)
    with ExitStack() as stack:
        data = Path(stack.enter_context(TemporaryDirectory()))
        ours, _ = stack.enter_context(served(data, collection))
        theirs = stack.enter_context(txtai_served(args.txtai, texts, args.work))
        peer: list[Request] = [
            ("GET", "/search?" + urlencode({"query": each, "limit": TOP_K}), None) for each in asked
        ]
        dense = _searches(args, "/v1/collections", collection, "dense")
        common = [
            len(set(_ids(ours, request)) & set(txtai_ids(theirs, query, TOP_K))) / TOP_K
            for query, request in zip(asked[:COMPARED], dense, strict=False)
        ]
        found = alternating(
            {
                "ragmeter, dense": (ours, dense),
                "ragmeter, hybrid": (ours, _searches(args, "/v1/collections", collection)),
                "txtai, dense": (theirs, peer),
            },
            args.rounds,
            clients=args.clients,
            seconds=args.seconds,
        )
    our_dense, our_hybrid, txtai = rows = [figures(name, runs) for name, runs in found.items()]
    return {
        "rows": rows,
        "ratios": {
            "searches/s, dense to txtai": our_dense["requests/s"] / txtai["requests/s"],
            "searches/s, hybrid to txtai": our_hybrid["requests/s"] / txtai["requests/s"],
            "p95, dense to txtai": our_dense["p95 ms"] / txtai["p95 ms"],
            f"share of the best {TOP_K} in common, dense": sum(common) / len(common),
        },
    }


def measure_soak(args: argparse.Namespace) -> dict[str, Any]:
    """Run the soak."""
    return soak(args.minutes, args.seed)


def _built(args: argparse.Namespace) -> Path:
    """Return the collection of the passages; it is built unless it is there."""
    args.folders = folders_of(args.folders)
    path: Path = args.work / f"service-{args.passages}"
    build(path, passages(args.folders, args.passages), load_embedder)
    return path


def _searches(
    args: argparse.Namespace, path: str, collection: Path, retriever: str = "hybrid"
) -> list[Request]:
    """Return a search for each question."""
    path = f"{path}/{collection.name}/search"
    return [
        ("POST", path, {"query": each, "top_k": TOP_K, "retriever": retriever})
        for each in queries(args.folders)
    ]


def _ids(url: str, request: Request) -> list[str]:
    """Return the documents that the service finds."""
    method, path, body = request
    reply = httpx2.request(method, url + path, json=body, timeout=60).raise_for_status()
    return [hit["passage"]["document_id"] for hit in reply.json()["hits"]]


def main() -> None:
    """Measure and print; the exit code is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, measure in (("search", measure_search), ("peer", measure_peer)):
        command = commands.add_parser(name, help=measure.__doc__)
        command.set_defaults(measure=measure)
        command.add_argument("folders", nargs="*", type=Path, help="data sets")
        command.add_argument("--passages", type=int, default=10_000)
        command.add_argument("--clients", type=int, default=32, help="searches at once")
        command.add_argument("--rounds", type=int, default=5, help="turns of each")
        command.add_argument("--seconds", type=float, default=5, help="of a turn")
        command.add_argument("--work", type=Path, default=Path("build/benchmarks"))
        if name == "peer":
            command.add_argument("--txtai", type=Path, required=True, help="a Python that has it")
    command = commands.add_parser("soak", help=measure_soak.__doc__)
    command.set_defaults(measure=measure_soak)
    command.add_argument("--minutes", type=float, default=10)
    command.add_argument("--seed", type=int, default=0, help="decides what is done and when")
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true")
    args = parser.parse_args()

    found = args.measure(args)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    sys.exit(not all(found.get("bars", {}).values()))


def _show(found: dict[str, Any]) -> None:
    """Print a table of the rows, then the ratios and the bars."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(*found["rows"][0], box=None, pad_edge=False)
    for row in found["rows"]:
        table.add_row(*map(_cell, row.values()))
    console.print(table)
    for name, value in found.get("ratios", {}).items():
        console.print(f"{name}: {value:.2f}")
    for each in found.get("violations", ()):
        console.print(f"VIOLATION: {each}", markup=False)
    for name, met in found.get("bars", {}).items():
        console.print(f"{name}: {'yes' if met else 'NO'}")


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()

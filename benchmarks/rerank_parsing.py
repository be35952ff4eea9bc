"""How well orders are read from what language models write when asked to rank passages.

    python benchmarks/rerank_parsing.py [--peer PYTHON] [--replies 5000] [--seed 0]

Compared are `rag.rerankers.parsing` and the parser of rank_llm, which takes every number of a reply
for an identifier, wherever it stands. rank_llm runs in an environment of its own, of Python 3.12:

    python3.12 -m venv build/peers
    build/peers/bin/pip install rank-llm==0.26.0
    python benchmarks/rerank_parsing.py --peer build/peers/bin/python

Replies are drawn from a seed (`rerank_replies.py`), in forms that models and servers write: four in
five state an order, a few of these without the brackets that the prompt asks for. What a reply
states is known from how it is made; no parser is asked.

- right: replies that state an order, and were read so that the passages end up in it. Those that
  the reply leaves out follow in the order they had.
- misread: replies that state an order, from which another one was read. The rest of what is not
  right was not read at all, which a caller notices.
- wrong ids: replies that state no order, from which identifiers were read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Collection

from rerank_replies import NONE, STATED, Order, Reply, replies

from rag.rerankers.parsing import parse_order

# The new order is its own method's. That one keeps nowhere which identifiers it read, so the
# function it reads them with is called once more.
PEER = """
import importlib.metadata, json, sys
from functools import partial
from types import SimpleNamespace
from rank_llm.data import Candidate, Query, Result
from rank_llm.rerank.listwise.listwise_rankllm import ListwiseRankLLM
from rank_llm.rerank.listwise.response_utils import clean_ranking_response

def read(text, identifiers):
    alpha, size = identifiers[0] == "A", len(identifiers)
    unique = partial(ListwiseRankLLM._remove_duplicate, None)
    reader = SimpleNamespace(_use_alpha=alpha, _remove_duplicate=unique)
    result = Result(Query("", 0), [Candidate(place, None, {}) for place in range(size)])
    result = ListwiseRankLLM.receive_permutation(reader, result, text, 0, size)
    numbers = clean_ranking_response(text, use_alpha=alpha).split()
    named = any(len(number) < 9 and 0 < int(number) <= size for number in numbers)
    return named, [candidate.docid for candidate in result.candidates]

readings = [read(*reply) for reply in json.load(sys.stdin)]
json.dump([importlib.metadata.version("rank-llm"), readings], sys.stdout)
"""


def completed(order: Collection[int], size: int) -> Order:
    """Return an order with the places that it lacks at its end."""
    return [*order, *(place for place in range(size) if place not in order)]


Reading = tuple[bool, Order]
"""Whether identifiers were read at all, and the order that the passages end up in."""


def read_by_us(made: list[Reply]) -> list[Reading]:
    """Read replies with ragmeter."""
    orders = [parse_order(each.text, each.identifiers).order for each in made]
    return [
        (bool(order), completed(order, len(each.identifiers)))
        for each, order in zip(made, orders, strict=True)
    ]


def read_by_peer(python: str, made: list[Reply]) -> tuple[str, list[Reading]]:
    """Read replies with rank_llm; return its version, too."""
    asked = json.dumps([(each.text, each.identifiers) for each in made])
    done = subprocess.run(
        [python, "-c", PEER], input=asked, text=True, stdout=subprocess.PIPE, check=True
    )
    version, readings = json.loads(done.stdout)
    return version, readings


def is_right(reply: Reply, reading: Reading) -> bool:
    """Return whether the passages end up in a stated order."""
    return reading[1] in [completed(order, len(reply.identifiers)) for order in reply.stated]


def is_misread(reply: Reply, reading: Reading) -> bool:
    """Return whether another order than a stated one was read."""
    return reading[0] and not is_right(reply, reading)


def show(
    title: str,
    kinds: Collection[str],
    made: list[Reply],
    readings: dict[str, list[Reading]],
    is_counted: Callable[[Reply, Reading], bool],
) -> None:
    """Print how many replies are counted, of each kind and of all, and the ratio."""
    print(f"{title:24}{'replies':>8}" + "".join(f"{name:>18}" for name in readings))
    for rows, label in [*(({kind}, kind) for kind in kinds), (set(kinds), "all")]:
        chosen = [at for at, each in enumerate(made) if each.kind in rows]
        counts = [
            sum(is_counted(made[at], each[at]) for at in chosen) for each in readings.values()
        ]
        shares = (f"{count:10} {count / max(1, len(chosen)):7.1%}" for count in counts)
        print(f"{label:24}{len(chosen):8}" + "".join(shares))
    if len(counts) == 2:
        print(f"{'ratio':24}{counts[0] / max(1, counts[1]):26.3f}")
    print()


def main() -> None:
    """Print how many replies each parser reads as they are meant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="Python of an environment with rank_llm")
    parser.add_argument("--replies", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    made = replies(args.replies, args.seed)
    readings = {"ragmeter": read_by_us(made)}
    if args.peer:
        version, of_peer = read_by_peer(args.peer, made)
        readings[f"rank_llm {version}"] = of_peer
    show("right", STATED, made, readings, is_right)
    show("misread", STATED, made, readings, is_misread)
    show("wrong ids", NONE, made, readings, is_misread)


if __name__ == "__main__":
    main()

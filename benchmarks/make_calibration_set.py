"""Make the questions that parallel encoding is calibrated with.

    python benchmarks/make_calibration_set.py FOLDER

FOLDER holds `nq_train`, `nq_oracle` and `hotpotqa_train100` in BEIR's layout; the README beside the
file that this writes says what they are. Questions are drawn from a fixed seed; their passages
stand in the order in which BM25 ranks them, as they would in a pipeline.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hard_distractors import Distractors

from rag.context.calibration_examples import CALIBRATION_SET

SINGLE_HOP, MULTI_HOP = 32, 24
PASSAGES = (5, 10)
Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    """Return the records of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def corpus(folder: Path) -> dict[str, Record]:
    """Return the passages of a data set by id."""
    fields = ("id", "title", "text")
    return {
        each["id"]: {field: each[field] for field in fields}
        for each in read(folder / "corpus.jsonl")
    }


def index_of(passages: dict[str, Record]) -> Distractors:
    """Return what ranks passages."""
    return Distractors(
        {passage_id: f"{each['title']} {each['text']}" for passage_id, each in passages.items()}
    )


def record(kind: str, query: Record, passages: list[Record]) -> Record:
    """Return a question with its passages."""
    return {
        "id": query["id"],
        "kind": kind,
        "question": query["text"],
        "answers": query["answers"],
        "gold": sorted(query["supporting_ids"]),
        "passages": passages,
    }


def single_hop(folder: Path, rng: random.Random) -> Iterator[Record]:
    """Yield questions of Natural Questions, with the gold passage among hard distractors.

    Questions whose gold passage also answers one that quality is evaluated with are left out.
    """
    passages = corpus(folder / "nq_oracle")
    distractors = index_of(passages)
    evaluated = {each["supporting_ids"][0] for each in read(folder / "nq_oracle" / "queries.jsonl")}
    queries = [
        query
        for query in read(folder / "nq_train" / "queries.jsonl")
        for gold in query["supporting_ids"]
        if gold not in evaluated and distractors.states(gold, query["answers"])
    ]
    for number, query in enumerate(rng.sample(queries, SINGLE_HOP)):
        gold = query["supporting_ids"]
        count = PASSAGES[number % len(PASSAGES)] - len(gold)
        others = distractors.hardest(query["text"], query["answers"], gold, count)
        ranking = distractors.ranked(query["text"], (*gold, *others))
        yield record("single-hop", query, [passages[each] for each in ranking])


def multi_hop(folder: Path, rng: random.Random) -> Iterator[Record]:
    """Yield two-hop questions of HotpotQA with their ten paragraphs; none are easy or yes/no."""
    folder = folder / "hotpotqa_train100"
    passages = corpus(folder)
    shown = {each["query_id"]: each["doc_ids"] for each in read(folder / "candidates.jsonl")}
    queries = [
        query
        for query in read(folder / "queries.jsonl")
        if query["level"] != "easy"
        and query["answers"][0] not in ("yes", "no")
        and len(shown[query["id"]]) == max(PASSAGES)
    ]
    index = index_of(passages)
    for query in rng.sample(queries, MULTI_HOP):
        ranking = index.ranked(query["text"], shown[query["id"]])
        yield record("multi-hop", query, [passages[each] for each in ranking])


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    rng = random.Random(0)
    with CALIBRATION_SET.open("w", encoding="utf-8") as file:
        for each in (*single_hop(folder, rng), *multi_hop(folder, rng)):
            file.write(json.dumps(each, ensure_ascii=False) + "\n")
    print(f"{CALIBRATION_SET}: {CALIBRATION_SET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

"""What parallel encoding costs in quality, and what tuning and sequential contexts give back.

    python benchmarks/context_quality.py [nq] [hotpotqa] --results FILE.jsonl [--data FOLDER]
        [--llm MODEL] [--questions N] [--temperature T] [--scale S] [--hybrid K] [--distractors 0 4]
        [--store FOLDER] [--no-replies]
    python benchmarks/context_quality.py --report FILE.jsonl…

Each question is asked with its contexts encoded sequentially, in parallel, in parallel with
temperature T and scale S (APE, arXiv 2502.05431), and in parallel like that but for the last K
contexts, which are read in sequence. Data sets are folders of FOLDER (`tests/data`) in BEIR's
layout. Where a set has `candidates.jsonl`, questions come with those passages; in others with the
relevant passage among so many hard distractors. Passages stand in the order in which BM25 ranks
them, the best nearest the question, as they would in a pipeline.

Measured are the log-probability and the probability, per token, of the likeliest accepted answer
after 'Answer:', and, unless `--no-replies` is given, exact match, F1 and accuracy of greedy replies
of at most 24 tokens. Each result is a line of FILE.jsonl as soon as it is there, and what is there
is not measured again: a run that was ended goes on, and one with other settings adds to it. Printed
at the end, or with `--report` alone, are means, their share of sequential encoding's (of
log-probabilities the ratio of their exponentials), and the difference to plain parallel encoding,
with 95 % bootstrap intervals over the questions.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hard_distractors import Distractors

from rag.context import ApeSettings, ContextStore, ParallelLLM
from rag.context.calibration_examples import Example
from rag.context.tuning import answer_logprob
from rag.core import Hit, Passage, Prompt, Sampling
from rag.core.protocols import LLM
from rag.core.templates import load_template
from rag.evaluation import Query, read_dataset
from rag.evaluation.answer_metrics import ANSWER_METRICS
from rag.models import TransformersLLM, load_llm

DATA = Path(__file__).parents[1] / "tests" / "data"
GREEDY = Sampling(max_tokens=24)
SEQUENTIAL, PLAIN = "sequential", "parallel"
SAMPLES = 10_000
KEY = ("model", "revision", "task", "arm", "question")
Record = dict[str, Any]
Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Task:
    """A question with its passages.

    Args:
        name: The data set, and which passages.
        query: The question.
        prompt: What the model reads.
    """

    name: str
    query: Query
    prompt: Prompt


def tasks(folder: Path, questions: int | None, distractors: Sequence[int]) -> Iterator[Task]:
    """Yield the first questions of a data set, each with every choice of passages."""
    dataset = read_dataset(folder)
    template = load_template("read")
    hits = {
        each.id: Hit(Passage(each.id, each.id, each.text, 0, len(each.text), each.title), 0.0)
        for each in dataset.documents()
    }
    index = Distractors({each: hit.passage.indexed_text for each, hit in hits.items()})
    for query in dataset.queries[:questions]:
        gold = list(dataset.judgements[query.id])
        if dataset.candidates:
            shown = {dataset.name: dataset.candidates[query.id]}
        else:
            others = index.hardest(query.text, query.answers, gold, max(distractors))
            shown = {
                f"{dataset.name}, {count} hard distractors": gold + others[:count]
                for count in distractors
            }
        for name, ids in shown.items():
            ranking = [hits[each] for each in index.ranked(query.text, ids)]
            yield Task(name, query, template.render(query.text, ranking))


def arms(args: argparse.Namespace, llm: TransformersLLM) -> dict[str, LLM]:
    """Return the ways to encode contexts, by name; all have the same weights and states."""
    store = ContextStore(args.store, llm.name, llm.revision) if args.store else None
    plain = ParallelLLM(llm, ApeSettings(), store=store)
    tuned = ApeSettings(args.temperature, args.scale)
    hybrid = ApeSettings(args.temperature, args.scale, args.hybrid)
    name = f"T={args.temperature:g}, S={args.scale:g}"
    return {
        SEQUENTIAL: llm,
        PLAIN: plain,
        name: plain.with_settings(tuned),
        f"{name}, last {args.hybrid} in sequence": plain.with_settings(hybrid),
    }


def measured(llm: LLM, task: Task, *, replies: bool) -> Record:
    """Return what a way to encode contexts makes of a question."""
    answers = task.query.answers
    logprob = answer_logprob(llm, Example(task.prompt, answers, task.name))
    values: Record = {"logprob": logprob, "probability": math.exp(logprob)}
    if replies:
        (reply,) = llm.generate([task.prompt], GREEDY)
        values["reply"] = reply.text
        values |= {name: metric(reply.text, answers) for name, metric in ANSWER_METRICS.items()}
    return values


def read(paths: Iterable[Path]) -> dict[tuple[str, ...], Record]:
    """Return the results in some files by model, revision, task, arm and question."""
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    return {tuple(each[name] for name in KEY): each for each in map(json.loads, lines)}


def measure(args: argparse.Namespace) -> None:
    """Measure what the file of results has not."""
    known = read([args.results] if args.results.exists() else [])
    llm = load_llm(args.llm)
    assert isinstance(llm, TransformersLLM)
    ways = arms(args, llm)
    for name in args.sets:
        asked = list(tasks(args.data / name, args.questions, args.distractors))
        for number, (task, arm) in enumerate(product(asked, ways), 1):
            key = (llm.name, llm.revision, task.name, arm, task.query.id)
            if key not in known or (args.replies and "reply" not in known[key]):
                values = measured(ways[arm], task, replies=args.replies)
                line = json.dumps(dict(zip(KEY, key, strict=True)) | values, ensure_ascii=False)
                with args.results.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            print(f"\r{name}: {number} of {len(asked) * len(ways)}", end="", flush=True)
        print()


def report(paths: list[Path]) -> None:
    """Print a table for each model, task and measure, over the questions of all arms."""
    tables: dict[tuple[str, ...], dict[str, dict[str, Record]]] = {}
    for (*table, arm, question), record in read(paths).items():
        tables.setdefault(tuple(table), {}).setdefault(arm, {})[question] = record
    for (model, revision, task), rows in tables.items():
        questions = sorted(set.intersection(*map(set, rows.values())))
        print(f"\n{task}: {model}, {revision}, {len(questions)} questions")
        for name in ("logprob", "probability", *ANSWER_METRICS):
            if all(name in row[question] for row in rows.values() for question in questions):
                compare_arms(
                    name,
                    {
                        arm: np.array([row[question][name] for question in questions])
                        for arm, row in rows.items()
                    },
                )


def compare_arms(name: str, values: dict[str, Values]) -> None:
    """Print what a measure says of each arm; `values` have one value a question."""
    print(f"{name:38}{'mean':>8}{'share of sequential':>25}{'minus plain parallel':>25}")
    share = likelihood_ratio if name == "logprob" else np.divide
    for arm, ours in values.items():
        shared = interval(share, ours, values[SEQUENTIAL]) if values[SEQUENTIAL].any() else "-"
        gained = interval(np.subtract, ours, values[PLAIN])
        print(f"  {arm:36}{ours.mean():8.3f}{shared:>25}{gained:>25}")


def likelihood_ratio(ours: Values, theirs: Values) -> Values:
    """Return the ratio of two probabilities, given their logarithms."""
    return np.exp(ours - theirs)


def interval(compare: Callable[[Values, Values], Values], ours: Values, theirs: Values) -> str:
    """Return how two means over the same questions compare, and the 95 % bootstrap interval."""
    picks = np.random.default_rng(0).integers(0, len(ours), (SAMPLES, len(ours)))
    with np.errstate(divide="ignore", invalid="ignore"):  # where a sample has nothing right
        samples = compare(ours[picks].mean(axis=1), theirs[picks].mean(axis=1))
        value = compare(ours.mean(), theirs.mean())
    if not np.isfinite(samples).all():
        return f"{value:.3f}"  # too few questions are right for an interval
    low, high = np.quantile(samples, [0.025, 0.975])
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=["nq", "hotpotqa"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--llm", default="SmolLM2-135M-Instruct")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--scale", type=float, default=0.9)
    parser.add_argument("--hybrid", type=int, default=2)
    parser.add_argument("--distractors", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--no-replies", dest="replies", action="store_false")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--report", type=Path, nargs="+")
    args = parser.parse_args()
    if args.results:
        measure(args)
    elif not args.report:
        parser.error("give --results FILE or --report FILE")
    report(args.report or [args.results])


if __name__ == "__main__":
    main()

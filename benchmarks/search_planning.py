"""How well a model decides whether a question needs a web search.

    python benchmarks/search_planning.py --llm MODEL [--part held-out] [--free] [--show]

The questions of `search_questions.jsonl` were written for this and labelled by hand: facts, events,
prices and versions need a search; arithmetic, translation, rewriting a given text, small talk, code
and logic need none. The prompt was worded on the development part.

- over-triggering: searches, of the questions that need none.
- missed: questions without a search, of those that need one.
- stale years: plans with a search whose queries, as the model wrote them, had a year that neither
  the question nor the calendar has.
- not planned: replies that could not be read even when asked for once more; the question itself is
  searched for.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rag.core.engine import Engine
from rag.core.events import Outcome
from rag.core.protocols import LLM
from rag.models.registry import load_llm
from rag.pipelines.search_planner import SearchPlan, SearchPlanner

QUESTIONS = Path(__file__).with_name("search_questions.jsonl")
TODAY = date(2026, 3, 31)


@dataclass(frozen=True)
class Question:
    """A question, what kind it is, whether it needs a search, and which part it belongs to."""

    text: str
    kind: str
    search: bool
    part: str


def main() -> None:
    """Plan for all questions at once, and print what came of it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--llm", required=True, help="name or folder of the model")
    options.add_argument("--part", choices=("development", "held-out"), help="one part only")
    options.add_argument("--free", action="store_true", help="do not hold the model to a schema")
    options.add_argument("--show", action="store_true", help="print every plan")
    arguments = options.parse_args()
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    questions = [
        question
        for question in (Question(**json.loads(line)) for line in lines)
        if arguments.part in (None, question.part)
    ]
    llm = load_llm(arguments.llm)
    if arguments.free:
        llm.capabilities -= {"json_schema"}
    outcomes = planned(llm, questions)
    plans = [outcome.unwrap() for outcome in outcomes]
    if arguments.show:
        for question, plan in zip(questions, plans, strict=True):
            print(f"{question.kind:12} {question.text}\n{'':12} {plan}")
    report(questions, plans)
    calls = sum(outcome.usage.calls for outcome in outcomes) / len(outcomes)
    seconds = sum(outcome.usage.seconds for outcome in outcomes)
    written = sum(outcome.usage.output_tokens for outcome in outcomes) / len(outcomes)
    print(f"{calls:.2f} calls and {written:.0f} tokens written a question, {seconds:.0f} s in all")


def planned(llm: LLM, questions: list[Question]) -> list[Outcome[SearchPlan]]:
    """Plan for all questions."""
    planner = SearchPlanner(today=lambda: TODAY)
    return Engine(llm=llm).run_many([planner.program(each.text) for each in questions])


def report(questions: list[Question], plans: list[SearchPlan]) -> None:
    """Print the confusion by kind, and the rates."""
    searched: dict[tuple[bool, str], list[bool]] = defaultdict(list)
    for question, plan in zip(questions, plans, strict=True):
        searched[question.search, question.kind].append(plan.search)
    print(f"{'needs':7} {'kind':12} {'searched':>9} {'not':>5}")
    for (needs, kind), decisions in searched.items():
        yes = sum(decisions)
        print(f"{'search' if needs else 'none':7} {kind:12} {yes:9} {len(decisions) - yes:5}")
    needed = [each for (needs, _), found in searched.items() if needs for each in found]
    others = [each for (needs, _), found in searched.items() if not needs for each in found]
    with_search = [plan for plan in plans if plan.search]
    stale = sum(any("does not speak of" in note for note in plan.notes) for plan in with_search)
    unplanned = sum(any("was not planned" in note for note in plan.notes) for plan in with_search)
    print(f"over-triggering {sum(others) / len(others):6.1%} of {len(others)}")
    print(f"missed          {1 - sum(needed) / len(needed):6.1%} of {len(needed)}")
    print(f"stale years     {stale / max(1, len(with_search)):6.1%} of {len(with_search)} searches")
    print(f"not planned     {unplanned / len(plans):6.1%} of {len(plans)}")


if __name__ == "__main__":
    main()

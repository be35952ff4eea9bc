"""Measures what allocations achieve and take, for a compute-allocation model to be fitted to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rag.allocation.observations import Cell, Observation
from rag.allocation.store import ObservationStore
from rag.core.answers import Answer
from rag.core.budgets import Budget
from rag.core.engine import Engine
from rag.core.errors import InputError, RagError
from rag.core.events import Outcome
from rag.core.progress import Progress, silent
from rag.core.usage import Usage
from rag.evaluation.answer_metrics import ANSWER_METRICS
from rag.evaluation.datasets import Query
from rag.pipelines.base import Pipeline
from rag.pipelines.citations import without_citations
from rag.pipelines.shortfall import shortfall

_BATCH = 32


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """What a profile did.

    Args:
        measured: Questions that were answered and kept, over all cells.
        known: Those that an earlier run had answered.
        failed: Why cells have no complete measurement, by cell: the first reason.
        stopped: Which limit ended the profile early; '' if none did.
        usage: What this run used.
    """

    measured: int
    known: int
    failed: Mapping[Cell, str]
    stopped: str
    usage: Usage


def profile(
    dataset: str,
    queries: Sequence[Query],
    pipeline: Callable[[Cell], Pipeline],
    grid: Sequence[Cell],
    store: ObservationStore,
    *,
    budget: Budget = Budget(),
    progress: Progress = silent,
) -> ProfileReport:
    """Answer each question at each cell of a grid, and keep what came of it.

    Rows that the store has are not measured again. Questions of a cell are answered 32 at a time
    and kept as soon as they are: what ends the process takes no more than the batch under way.

    Around the model, a `CachedLLM` keeps the replies of that batch, too, and has cells that ask the
    same share theirs. A kept reply counts as read but not as computed, and takes no time: so
    `input_tokens` of an observation are always those of its cell, while `computed_tokens` and
    `seconds` are what was spent on it when it was measured.

    An answer for which something was left out, for lack of room in the model's window, is not what
    the cell says: it is not kept, and the cell counts as failed. So does a question that met an
    error; the next run tries it again.

    Args:
        dataset: The data set's name.
        queries: Its questions, with accepted answers.
        pipeline: Makes the pipeline of a cell.
        grid: The cells, in the order in which they are measured.
        store: Where observations go.
        budget: What this run may use, over all; it is asked before every batch of questions, so
            that no answer is cut.
        progress: Told of the questions that are answered.

    Raises:
        InputError: A question has no accepted answers.
    """
    for query in queries:
        if not query.answers:
            raise InputError(f"question {query.id} has no accepted answers to compare with")
    done = store.done(dataset)
    todo = [(cell, [each for each in queries if (cell, each.id) not in done]) for cell in grid]
    total = len(grid) * len(queries)
    known = total - sum(len(pending) for _, pending in todo)
    batches = [
        (cell, pending[start : start + _BATCH])
        for cell, pending in todo
        for start in range(0, len(pending), _BATCH)
    ]
    began = time.monotonic()
    used, asked, measured, failed, stopped = Usage(), 0, 0, dict[Cell, str](), ""
    for cell, batch in batches:
        progress("measuring", known + asked, total)
        if stopped := _exhausted(budget, used, time.monotonic() - began):
            break
        rows = []
        for query, outcome in zip(batch, _answered(pipeline(cell), batch), strict=True):
            used += outcome.usage
            if problem := _problem(outcome):
                failed.setdefault(cell, f"{query.id}: {problem}")
            else:
                rows.append(_observation(dataset, cell, query, outcome))
        store.add(rows)
        asked += len(batch)
        measured += len(rows)
    progress("measuring", known + asked, total)
    return ProfileReport(measured, known, failed, stopped, used)


def _answered(pipeline: Pipeline, queries: Sequence[Query]) -> list[Outcome[Answer]]:
    engine = Engine(llm=pipeline.llm, retriever=pipeline.retriever)
    outcomes = engine.run_many([pipeline.program(query.text) for query in queries])
    for outcome in outcomes:
        if outcome.error is not None and not isinstance(outcome.error, RagError):
            raise outcome.error
    return outcomes


def _problem(outcome: Outcome[Answer]) -> str:
    """Say why an answer is not a measurement of its cell; '' if it is."""
    if outcome.error is not None:
        return str(outcome.error)
    return shortfall(outcome.unwrap())


def _observation(dataset: str, cell: Cell, query: Query, outcome: Outcome[Answer]) -> Observation:
    answer, used = outcome.unwrap(), outcome.usage
    text = without_citations(answer.text)
    strategy, allocation = cell
    return Observation(
        dataset,
        strategy,
        allocation,
        query.id,
        {name: metric(text, query.answers) for name, metric in ANSWER_METRICS.items()},
        input_tokens=used.input_tokens,
        computed_tokens=used.computed_tokens,
        output_tokens=used.output_tokens,
        calls=used.calls,
        seconds=round(used.seconds, 4),
        confidence=answer.confidence,
        answer=text,
    )


def _exhausted(budget: Budget, used: Usage, seconds: float) -> str:
    """Say which limit of a budget was reached; '' if none was."""
    spent = {
        "tokens": used.input_tokens,
        "calls": used.calls,
        "seconds": seconds,
        "cost": used.cost,
    }
    for kind, amount in spent.items():
        limit = getattr(budget, kind)
        if limit is not None and amount >= limit:
            return f"the budget of {kind} is used up"
    return ""

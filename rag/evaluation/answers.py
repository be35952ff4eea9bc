"""How well a pipeline answers the questions of a data set."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from rag.core.answers import Answer
from rag.core.budgets import Budget
from rag.core.errors import BatchError, InputError, RagError
from rag.core.progress import Progress, silent
from rag.core.usage import Usage
from rag.evaluation.answer_metrics import ANSWER_METRICS
from rag.evaluation.datasets import Query
from rag.pipelines.base import Pipeline
from rag.pipelines.citations import without_citations

_BATCH = 32


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What a pipeline scored on a data set.

    Args:
        answers: The answer to each question, by query id.
        errors: Why a question has none, by query id; such a question scores 0.
        values: For each metric, by name, its value for each query id.
        usage: What all questions that were answered used.
        seconds: Time it took.
    """

    answers: dict[str, Answer]
    errors: dict[str, str]
    values: dict[str, dict[str, float]]
    usage: Usage
    seconds: float

    @property
    def means(self) -> dict[str, float]:
        """The mean of each metric over the questions."""
        return {metric: fmean(values.values()) for metric, values in self.values.items()}


def evaluate_answers(
    queries: Sequence[Query],
    pipeline: Pipeline,
    *,
    budget: Budget | None = None,
    progress: Progress = silent,
) -> AnswerReport:
    """Answer the questions of a data set, and score the answers.

    Args:
        queries: The questions; those without accepted answers are left out.
        pipeline: Answers them. Around its model, a `CachedLLM` makes a second run cost nothing.
        budget: What each question may use.
        progress: Told of the questions that are answered.

    Raises:
        InputError: No question has accepted answers.
    """
    asked = [query for query in queries if query.answers]
    if not asked:
        raise InputError("no question of the data set has accepted answers to compare with")
    began = time.perf_counter()
    results: list[Answer | Exception] = []
    for start in range(0, len(asked), _BATCH):
        progress("answering", len(results), len(asked))
        batch = [query.text for query in asked[start : start + _BATCH]]
        results += _answers(pipeline, batch, budget)
    progress("answering", len(results), len(asked))
    pairs = list(zip(asked, results, strict=True))
    answers = {query.id: each for query, each in pairs if isinstance(each, Answer)}
    return AnswerReport(
        answers,
        {query.id: str(each) for query, each in pairs if isinstance(each, Exception)},
        {
            name: {
                query.id: metric(without_citations(answers[query.id].text), query.answers)
                if query.id in answers
                else 0.0
                for query in asked
            }
            for name, metric in ANSWER_METRICS.items()
        },
        sum((answer.usage for answer in answers.values()), Usage()),
        time.perf_counter() - began,
    )


def _answers(
    pipeline: Pipeline, questions: Sequence[str], budget: Budget | None
) -> Iterator[Answer | Exception]:
    try:
        yield from pipeline.answer_many(questions, budget=budget)
    except BatchError as error:
        for result in error.results:
            if isinstance(result, Exception) and not isinstance(result, RagError):
                raise result from None  # no answer went wrong, but the program
            yield result

"""Makes worked examples out of training questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rag.core.answers import Answer, Step
from rag.core.engine import Engine
from rag.core.errors import InputError, RagError
from rag.core.progress import Progress, silent
from rag.core.worked_examples import WorkedExample, same_question
from rag.evaluation.answer_metrics import accuracy
from rag.evaluation.datasets import Query
from rag.pipelines.citations import without_citations
from rag.pipelines.iter_drag import IterDRAG

_BATCH = 16


@dataclass(frozen=True, slots=True)
class BuiltExamples:
    """What came of training questions.

    Args:
        examples: An example for each question, those with steps first.
        failed: Which error a question met, by query id; its example has no steps.
    """

    examples: tuple[WorkedExample, ...]
    failed: Mapping[str, str]


def build_examples(
    queries: Sequence[Query],
    pipeline: Callable[[Sequence[WorkedExample]], IterDRAG],
    *,
    documents: int = 20,
    shown: int = 2,
    progress: Progress = silent,
) -> BuiltExamples:
    """Have a model answer training questions step by step, and keep what is right.

    As in arXiv 2410.04343, section 3.3: the model is held to the form of sub-questions, and only a
    chain of them whose final answer is right is kept: one that an accepted answer stands in. The
    example ends with the accepted answer itself. Other than there, right chains are shown to the
    model as examples for the questions after them, which come in batches of 16, and a question
    without a right chain stays an example without steps, which serves strategies that have none.

    Args:
        queries: Training questions with accepted answers, never those of a test.
        pipeline: Makes the pipeline that answers, given worked examples to show.
        documents: Passages to keep for each question, the most that any allocation will show.
        shown: Right chains to show at most.
        progress: Told of the questions that are answered.

    Raises:
        InputError: There are no questions, or one has no accepted answer.
        SearchFailed: The passages to keep could not be searched for.
    """
    if not queries:
        raise InputError("there are no training questions to make worked examples of")
    for query in queries:
        if not query.answers:
            raise InputError(f"training question {query.id} has no accepted answer")
    solved: list[WorkedExample] = []
    others: list[WorkedExample] = []
    failed: dict[str, str] = {}
    for start in range(0, len(queries), _BATCH):
        progress("answering", start, len(queries))
        batch = queries[start : start + _BATCH]
        texts = [query.text for query in batch]
        asked = pipeline(solved[:shown])
        engine = Engine(llm=asked.llm, retriever=asked.retriever)
        outcomes = engine.run_many([asked.program(text) for text in texts])
        found = asked.retriever.search_many(texts, documents) if documents else [[] for _ in batch]
        for query, outcome, hits in zip(batch, outcomes, found, strict=True):
            if isinstance(outcome.error, RagError):
                failed[query.id] = str(outcome.error)
                steps: tuple[Step, ...] = ()
            else:
                steps = _right_steps(outcome.unwrap(), query)
            example = WorkedExample(query.text, query.answers[0], tuple(hits), steps)
            (solved if steps else others).append(example)
    progress("answering", len(queries), len(queries))
    return BuiltExamples((*solved, *others), failed)


def refuse_overlap(examples: Iterable[WorkedExample], queries: Iterable[Query]) -> None:
    """Refuse worked examples that give away the answers of the questions to be measured.

    Raises:
        InputError: An example's question is one of the questions.
    """
    asked = list(queries)
    for example in examples:
        for query in asked:
            if same_question(example.question, query.text):
                raise InputError(
                    f"the worked example {example.question!r} is question {query.id} of the data "
                    "set: an example must not come from the questions that are measured; build "
                    "examples from others"
                )


def _right_steps(answer: Answer, query: Query) -> tuple[Step, ...]:
    """Return the steps of an answer that is right; none of one that is not."""
    right = accuracy(without_citations(answer.text), query.answers) == 1
    return answer.steps if right else ()

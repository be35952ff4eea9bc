"""Makes worked examples out of training questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rag.core.answers import Answer
from rag.core.engine import Engine
from rag.core.errors import InputError, RagError
from rag.core.progress import Progress, silent
from rag.core.worked_examples import WorkedExample, same_question
from rag.evaluation.answer_metrics import accuracy
from rag.evaluation.answers import without_citations
from rag.evaluation.datasets import Query
from rag.pipelines.iter_drag import IterDRAG

_BATCH = 16


def build_examples(
    queries: Sequence[Query],
    pipeline: Callable[[Sequence[WorkedExample]], IterDRAG],
    *,
    documents: int = 20,
    shown: int = 2,
    progress: Progress = silent,
) -> list[WorkedExample]:
    """Have a model answer training questions step by step, and keep what is right.

    As in arXiv 2410.04343, section 3.3: the model is held to the form of sub-questions, and only a
    chain of them whose final answer is right is kept: one that an accepted answer stands in. The
    example ends with the accepted answer itself. Other than there, right chains are shown to the
    model as examples for the questions after them, and a question without a right chain stays an
    example without steps, which serves strategies that have none.

    Args:
        queries: Training questions with accepted answers, never those of a test.
        pipeline: Makes the pipeline that answers, given worked examples to show.
        documents: Passages to keep for each question, the most that any allocation will show.
        shown: Right chains to show at most.
        progress: Told of the questions that are answered.

    Returns:
        An example for each question, those with steps first.

    Raises:
        InputError: A question has no accepted answer.
    """
    if not queries or not all(query.answers for query in queries):
        raise InputError("worked examples need training questions with accepted answers")
    solved: list[WorkedExample] = []
    others: list[WorkedExample] = []
    for start in range(0, len(queries), _BATCH):
        progress("answering", start, len(queries))
        batch = queries[start : start + _BATCH]
        asked = pipeline(solved[:shown])
        engine = Engine(llm=asked.llm, retriever=asked.retriever)
        outcomes = engine.run_many([asked.program(query.text) for query in batch])
        found = asked.retriever.search_many([query.text for query in batch], documents)
        for query, outcome, hits in zip(batch, outcomes, found, strict=True):
            if outcome.error is not None and not isinstance(outcome.error, RagError):
                raise outcome.error
            answer = outcome.value
            right = answer is not None and answer.steps and _right(answer, query)
            steps = answer.steps if answer is not None and right else ()
            example = WorkedExample(query.text, query.answers[0], tuple(hits), steps)
            (solved if steps else others).append(example)
    progress("answering", len(queries), len(queries))
    return solved + others


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


def _right(answer: Answer, query: Query) -> bool:
    return accuracy(without_citations(answer.text), query.answers) == 1

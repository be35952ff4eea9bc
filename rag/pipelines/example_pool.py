"""Which worked examples a prompt shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rag.core.protocols import Retriever
from rag.core.search_operations import Search
from rag.core.worked_examples import WorkedExample, same_question

T = TypeVar("T")


class ExamplePool:
    """Worked examples to choose from.

    Without a retriever the first ones are taken, the same for all questions, so that a backend
    which keeps what prompts begin with computes them once. With one, those of the most similar
    questions are, the most similar nearest the question.

    An example is never shown for its own question.

    Args:
        examples: The examples.
        retriever: Finds examples by their questions, such as `ExampleRetriever`; the document id
            of a hit is the example's question. It may know of more examples.
    """

    def __init__(
        self, examples: Sequence[WorkedExample] = (), *, retriever: Retriever | None = None
    ) -> None:
        self.examples = tuple(examples)
        self.retriever = retriever

    async def program(self, question: str, count: int) -> tuple[WorkedExample, ...]:
        """Return at most so many examples for a question, in the order of the prompt."""
        others = [each for each in self.examples if not same_question(each.question, question)]
        if self.retriever is None:
            return tuple(others[:count])
        usable = {each.question: each for each in others}
        wanted = min(count, len(usable))
        if not wanted:
            return ()
        asked = wanted + 1
        while True:
            found = await Search(question, asked, retriever=self.retriever, stage="examples")
            names = dict.fromkeys(hit.passage.document_id for hit in found)
            nearest = [usable[name] for name in names if name in usable]
            if len(nearest) >= wanted or len(found) < asked:
                return tuple(reversed(nearest[:wanted]))
            # What was found is not in this pool, or is the question itself: look further.
            asked *= 2

    def with_steps(self) -> ExamplePool:
        """Return the pool of those examples that show how sub-questions lead to an answer."""
        solved = [each for each in self.examples if each.steps]
        return ExamplePool(solved, retriever=self.retriever)

    def kept(self, chosen: Sequence[T], count: int) -> Sequence[T]:
        """Return those of some chosen examples that stay where only so many fit."""
        if self.retriever is None:
            return chosen[: max(0, count)]
        return chosen[len(chosen) - max(0, count) :]

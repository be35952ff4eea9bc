"""Which worked examples a prompt shows."""

from __future__ import annotations

from collections.abc import Sequence

from rag.core.operations import Search
from rag.core.protocols import Retriever
from rag.core.worked_examples import WorkedExample, same_question


class ExamplePool:
    """Worked examples to choose from.

    Without a retriever the first ones are taken, the same for all questions, so that a backend
    which keeps what prompts begin with computes them once. With one, those of the most similar
    questions are, the most similar nearest the question.

    An example is never shown for its own question.

    Args:
        examples: The examples.
        retriever: Finds examples by their questions, such as `ExampleRetriever`; the document id
            of a hit is the example's question.
    """

    def __init__(
        self, examples: Sequence[WorkedExample] = (), *, retriever: Retriever | None = None
    ) -> None:
        self.examples = tuple(examples)
        self.retriever = retriever

    async def program(self, question: str, count: int) -> tuple[WorkedExample, ...]:
        """Return at most so many examples for a question, in the order of the prompt."""
        if not count:
            return ()
        if self.retriever is None:
            others = (each for each in self.examples if not same_question(each.question, question))
            return tuple(others)[:count]
        found = await Search(question, count + 1, retriever=self.retriever, stage="examples")
        known = {each.question: each for each in self.examples}
        nearest = [
            known[hit.passage.document_id]
            for hit in found
            if hit.passage.document_id in known
            and not same_question(hit.passage.document_id, question)
        ]
        return tuple(reversed(nearest[:count]))

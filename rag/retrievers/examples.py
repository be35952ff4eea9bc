"""Search among worked examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.core.filters import Where, matches, parse_where
from rag.core.hits import Hit
from rag.core.protocols import Embedder
from rag.core.worked_examples import WorkedExample


class ExampleRetriever:
    """Finds worked examples whose questions are similar to a question.

    A hit's passage is an example's question, which is its id and its document's, too. All questions
    are embedded as queries, for like is compared with like, and the examples' once, when the
    retriever is made.

    Args:
        examples: The examples; of those with the same question one is found.
        embedder: Embeds the questions.

    Raises:
        InputError: A question is longer than the embedder reads.
    """

    name = "examples"

    def __init__(self, examples: Sequence[WorkedExample], embedder: Embedder) -> None:
        self._embedder = embedder
        self._passages = [
            Passage(each, each, each, 0, len(each))
            for each in dict.fromkeys(example.question for example in examples)
        ]
        self._vectors = embedder.embed_queries([each.text for each in self._passages])

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        """Return the examples most similar to each query, best first; see `Retriever.search_many`.

        Examples have no metadata for a filter to match.

        Raises:
            InputError: A query is longer than the embedder reads, `top_k` is below 1, or `where` is
                malformed.
        """
        if top_k < 1:
            raise InputError(f"top_k is {top_k}; ask for 1 hit or more")
        condition = parse_where(where or {})
        if not (queries and self._passages and matches(condition, {})):
            return [[] for _ in queries]
        # One query at a time, so that its scores do not depend on the others to the last bit.
        vectors = self._embedder.embed_queries(queries)
        return [self._nearest(self._vectors @ each, top_k) for each in vectors]

    def _nearest(self, scores: npt.NDArray[np.float32], top_k: int) -> list[Hit]:
        best = np.argsort(-scores, kind="stable")[:top_k].tolist()
        return [
            Hit(self._passages[place], score, {self.name: score}, {self.name: rank})
            for rank, place in enumerate(best, start=1)
            for score in [float(scores[place])]
        ]

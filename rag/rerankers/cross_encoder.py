"""Cross-encoder reranking: a model that reads query and passage together scores each pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rag.core.budgets import Reservation
from rag.core.hits import Hit
from rag.core.operations import LeafOp
from rag.core.usage import Usage
from rag.models.cross_encoder import PairScore
from rag.rerankers.pointwise import PassageScore, PointwiseReranker


class PairScorer(Protocol):
    """Scores pairs of a query and a passage.

    Attributes:
        name: Name of the model.
    """

    name: str

    def count_tokens(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Return the tokens of each pair, as `score_pairs` would read it."""

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[PairScore]:
        """Return the score of each pair.

        Raises:
            BatchError: Some of several pairs could not be scored; the others' scores are inside.
        """


@dataclass(frozen=True, slots=True)
class ScorePair(LeafOp[PairScore]):
    """Ask how relevant a passage is to a query.

    Args:
        query: What was looked for.
        passage: The passage's text.
        scorer: The model.
        stage: Name under which the operation is metered.
    """

    backend_kind = "llm"  # the engine's own is never used: each pair names its scorer
    query: str
    passage: str
    scorer: PairScorer
    stage: str = "rerank"

    @property
    def backend(self) -> PairScorer:
        """The model that the operation names."""
        return self.scorer

    @classmethod
    def run(cls, backend: PairScorer, ops: Sequence[ScorePair]) -> Sequence[PairScore]:
        """Score all pairs at once."""
        return backend.score_pairs([(op.query, op.passage) for op in ops])

    @classmethod
    def needs(cls, backend: PairScorer, ops: Sequence[Any], *, tokens: bool) -> list[Reservation]:
        """Return one call each, and the tokens where they are limited."""
        if not tokens:
            return [Reservation(calls=1)] * len(ops)
        counts = backend.count_tokens([(op.query, op.passage) for op in ops])
        return [Reservation(count, 1) for count in counts]

    @classmethod
    def usage(cls, result: PairScore) -> Usage:
        """Return the tokens and the call."""
        return result.usage


class CrossEncoderReranker(PointwiseReranker):
    """Scores passages with a cross-encoder, in batches over all passages of all questions.

    The model reads the label and the text of a passage, as far as they fit; a note says how many
    passages did not. Source: arXiv 1901.04085.

    Args:
        scorer: The model, such as `rag.models.CrossEncoder`.
    """

    name = "cross-encoder"

    def __init__(self, scorer: PairScorer) -> None:
        self.scorer = scorer

    async def score(self, query: str, hit: Hit) -> PassageScore:
        """Score the pair; see `PointwiseReranker.score`."""
        found = await ScorePair(query, hit.passage.indexed_text, self.scorer)
        return PassageScore(found.score, cut=found.cut)

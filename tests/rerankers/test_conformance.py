"""Every reranker runs the shipped suite: on a model that knows, and some on a real one."""

from pathlib import Path

import pytest

from rag.models.transformers_llm import TransformersLLM
from rag.rerankers.base import Reranker
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.setwise import Setwise
from rag.rerankers.sliding import FullRanking, SlidingWindow
from rag.rerankers.tour_rank import TourRank
from rag.rerankers.tournament import Tournament
from rag.testing.reranker_conformance import RerankerConformance
from tests.rerankers.oracle import OracleLLM


class TestSlidingWindow(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return SlidingWindow(FirstTokenRanker(OracleLLM()), window=7)


class TestSlidingWindowOfWrittenOrders(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return SlidingWindow(PermutationRanker(OracleLLM()), window=8, passes=3)


class TestFrozenPasses(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return SlidingWindow(FirstTokenRanker(OracleLLM()), window=8, passes=4, freeze=True)


class TestFullRanking(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return FullRanking(FirstTokenRanker(OracleLLM()))


class TestTournament(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return Tournament(FirstTokenRanker(OracleLLM()), window=6)


class TestTourRank(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return TourRank(PermutationRanker(OracleLLM()), tournaments=2)


class TestSetwise(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return Setwise(FirstTokenRanker(OracleLLM()))


class TestShortenedPassages(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return Tournament(PermutationRanker(OracleLLM()), window=9, passage_tokens=3)


class OnATinyModel(RerankerConformance):
    """The same on real tensors: random weights, in float32, in which batches change nothing."""

    many = 9

    @pytest.fixture(autouse=True)
    def _loaded(self, tiny_llm: TransformersLLM) -> None:
        self.llm = tiny_llm


@pytest.fixture(scope="module")
def tiny_llm(tiny: Path) -> TransformersLLM:
    return TransformersLLM(tiny, dtype="float32", context_window=16_384)


class TestSlidingWindowOnATinyModel(OnATinyModel):
    def make_reranker(self) -> Reranker:
        return SlidingWindow(FirstTokenRanker(self.llm), window=4, passage_tokens=24)


class TestTournamentOnATinyModel(OnATinyModel):
    def make_reranker(self) -> Reranker:
        return Tournament(PermutationRanker(self.llm), window=4, passage_tokens=24)

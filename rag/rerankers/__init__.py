"""Rerankers: programs that put what a retriever found into a better order.

A listwise reranker is a strategy, which says what windows of passages to ask about, around a way of
asking: `SlidingWindow(FirstTokenRanker(llm))`.
"""

from rag.rerankers.base import Reranker
from rag.rerankers.cross_encoder import CrossEncoderReranker
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.listwise import ListwiseReranker
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.pointwise import PointwiseReranker, QueryLikelihood, YesNo
from rag.rerankers.registry import METHODS, load_reranker
from rag.rerankers.setwise import Setwise
from rag.rerankers.sliding import FullRanking, SlidingWindow
from rag.rerankers.tour_rank import TourRank
from rag.rerankers.tournament import Tournament
from rag.rerankers.windows import WindowOrder, WindowRanker

__all__ = [
    "METHODS",
    "CrossEncoderReranker",
    "FirstTokenRanker",
    "FullRanking",
    "ListwiseReranker",
    "PermutationRanker",
    "PointwiseReranker",
    "QueryLikelihood",
    "Reranker",
    "Setwise",
    "SlidingWindow",
    "TourRank",
    "Tournament",
    "WindowOrder",
    "WindowRanker",
    "YesNo",
    "load_reranker",
]

"""Rerankers whose candidates are encoded once, for all queries."""

from pathlib import Path

import pytest

from rag.context import ApeSettings, ParallelLLM
from rag.models.transformers_llm import TransformersLLM
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.pointwise import QueryLikelihood
from rag.rerankers.sliding import FullRanking
from tests.rerankers.oracle import hits_worth

HITS = hits_worth([3, 1, 4, 1, 5, 9, 2, 6])
QUERIES = ("How tall is the tower?", "What does the committee decide?")


@pytest.fixture(scope="module")
def plain(tiny: Path) -> TransformersLLM:
    return TransformersLLM(tiny, dtype="float32", prefix_bytes=0)


def test_query_likelihood_is_the_same_and_reads_each_passage_once(plain: TransformersLLM) -> None:
    parallel = ParallelLLM(plain, ApeSettings(0.6, 0.9))
    for number, query in enumerate(QUERIES):
        expected = QueryLikelihood(plain).rerank(query, HITS)
        found = QueryLikelihood(parallel).rerank(query, HITS)
        assert [hit.passage.id for hit in found.hits] == [hit.passage.id for hit in expected.hits]
        # One context by itself is what the model would have read anyway, whatever the settings.
        assert [hit.score for hit in found.hits] == pytest.approx(
            [hit.score for hit in expected.hits], abs=1e-4
        )
        assert found.usage.input_tokens == expected.usage.input_tokens
        computed = found.usage.input_tokens - found.usage.cached_tokens
        assert number == 0 or computed < 0.6 * expected.usage.input_tokens


def test_windows_of_passages_are_read_in_parallel(plain: TransformersLLM) -> None:
    parallel = ParallelLLM(plain, ApeSettings(0.6, 0.9))
    ranking = FullRanking(FirstTokenRanker(parallel)).rerank(QUERIES[0], HITS)
    assert ranking.complete
    assert sorted(hit.passage.id for hit in ranking.hits) == sorted(h.passage.id for h in HITS)

import asyncio
from collections.abc import Sequence

import pytest

from rag.core.async_engine import AsyncEngine
from rag.core.errors import BatchError, ContextOverflow
from rag.core.hits import Hit
from rag.core.operations import Program
from rag.core.rankings import Ranking
from rag.rerankers.base import Reranker, reordered
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.tournament import Tournament
from tests.rerankers.oracle import OracleLLM, hits_worth, worths_of


class Reversing(Reranker):
    name = "reversing"

    def program(
        self, query: str, hits: Sequence[Hit], top_k: int | None = None
    ) -> Program[Ranking]:
        async def reverse() -> Ranking:
            if query == "too long":
                raise ContextOverflow("model", 9, 8)
            order = list(range(len(hits)))[::-1]
            return Ranking(reordered(self.name, hits, order, [0.5] * len(hits)))

        return reverse()


def test_hits_keep_where_they_were() -> None:
    (first, second) = Reversing().rerank("q", hits_worth([1, 2])).hits
    assert (first.passage.id, first.score) == ("p1", 0.5)
    assert first.scores == {"retrieved": 0.5, "reversing": 0.5}
    assert first.ranks == {"retrieved": 2, "reversing": 1}
    assert second.ranks == {"retrieved": 1, "reversing": 2}


def test_a_second_reranker_keeps_where_the_first_one_put_a_hit() -> None:
    once = Reversing().rerank("q", hits_worth([1, 2, 3])).hits
    ranking = Tournament(FirstTokenRanker(OracleLLM())).rerank("q", once)
    assert [hit.ranks["retrieved"] for hit in ranking.hits] == [3, 2, 1]
    assert [hit.ranks["reversing"] for hit in ranking.hits] == [1, 2, 3]


def test_a_query_that_fails_leaves_the_others_their_rankings() -> None:
    with pytest.raises(BatchError) as caught:
        Reversing().rerank_many(["q", "too long"], [hits_worth([1, 2]), hits_worth([1, 2])])
    found, failed = caught.value.results
    assert worths_of(found) == [2, 1]
    assert isinstance(failed, ContextOverflow)


def test_the_engine_for_servers_runs_rerankers_side_by_side() -> None:
    reranker = Tournament(FirstTokenRanker(OracleLLM()), window=6)
    questions = [hits_worth(range(count)) for count in (5, 18, 30)]

    async def rank() -> list[Ranking]:
        engine = AsyncEngine()
        return list(
            await asyncio.gather(
                *(engine.run(reranker.program("q", hits, 3)) for hits in questions)
            )
        )

    for hits, ranking in zip(questions, asyncio.run(rank()), strict=True):
        alone = reranker.rerank("q", hits, 3)
        assert ranking.hits == alone.hits
        assert ranking.windows == alone.windows

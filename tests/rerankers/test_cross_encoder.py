from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rag.core.budgets import Budget
from rag.core.documents import Passage
from rag.core.errors import BatchError, InputError
from rag.core.hits import Hit
from rag.core.usage import Usage
from rag.models.cross_encoder import CrossEncoder, PairScore
from rag.rerankers.base import Reranker
from rag.rerankers.cross_encoder import CrossEncoderReranker, ScorePair
from rag.testing.reranker_conformance import RerankerConformance
from tests.models.cross_encoders import write_cross_encoder
from tests.rerankers.oracle import hits_worth, worth, worths_of


@pytest.fixture(scope="module")
def minilm_with_a_head(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    folder = write_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))
    return CrossEncoder(folder, dtype="float32", device="cpu", max_tokens=64)


class OracleScorer:
    """Sees the worth of passages, and refuses a certain query; its words are its tokens."""

    name = "oracle"

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, str]]] = []

    def count_tokens(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        return [len(f"{query} {passage}".split()) for query, passage in pairs]

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[PairScore]:
        self.batches.append(list(pairs))
        results = [
            InputError("this query is too long")
            if query == "long"
            else PairScore(worth(passage), cut="cut" in passage, input_tokens=tokens)
            for (query, passage), tokens in zip(pairs, self.count_tokens(pairs), strict=True)
        ]
        if any(isinstance(result, InputError) for result in results):
            raise BatchError(results)
        return [result for result in results if isinstance(result, PairScore)]


class TestCrossEncoderReranker(RerankerConformance):
    def make_reranker(self) -> Reranker:
        return CrossEncoderReranker(OracleScorer())


class TestCrossEncoderRerankerOnARealModel(RerankerConformance):
    many = 10

    @pytest.fixture(autouse=True)
    def _loaded(self, minilm_with_a_head: CrossEncoder) -> None:
        self.scorer = minilm_with_a_head

    def make_reranker(self) -> Reranker:
        return CrossEncoderReranker(self.scorer)


def test_all_pairs_of_all_questions_are_one_batch() -> None:
    scorer = OracleScorer()
    queries = ("one", "two words", "three")
    found = [hits_worth(range(5)), hits_worth([7, 9]), []]
    rankings = CrossEncoderReranker(scorer).rerank_many(queries, found, 3)
    assert [worths_of(ranking) for ranking in rankings] == [[4, 3, 2], [9, 7], []]
    assert [len(batch) for batch in scorer.batches] == [7]
    assert rankings[1].usage == replace(
        Usage(input_tokens=8, calls=2), seconds=rankings[1].usage.seconds
    )
    assert dict(rankings[1].stages).keys() == {"rerank"}


def test_a_pair_by_hand() -> None:
    """The label is read before the text; the result is the program's score."""
    scorer = OracleScorer()
    hit = Hit(Passage("p", "d", "worth 3", 0, 7, title="Herons", heading="Fishing"), 0.5)
    (member,) = CrossEncoderReranker(scorer).program("q", [hit]).send(None).members
    asked = member.send(None)
    assert asked == ScorePair("q", "Herons > Fishing\nworth 3", scorer)
    assert asked.backend is scorer
    with pytest.raises(StopIteration) as ended:
        member.send(PairScore(2.5, cut=True))
    assert (ended.value.value.score, ended.value.value.cut) == (2.5, True)


def test_a_query_that_is_refused_fails_alone() -> None:
    with pytest.raises(BatchError) as failed:
        CrossEncoderReranker(OracleScorer()).rerank_many(
            ("long", "short"), [hits_worth([1, 2])] * 2
        )
    long, short = failed.value.results
    assert isinstance(long, InputError)
    assert worths_of(short) == [2, 1]


def test_what_was_cut_is_noted() -> None:
    hits = hits_worth([1, 2])
    hits[0] = replace(hits[0], passage=replace(hits[0].passage, title="cut"))
    ranking = CrossEncoderReranker(OracleScorer()).rerank("q", hits)
    assert ranking.notes == ("passages shortened for the model: 1",)


def test_tokens_are_promised_before_they_are_read() -> None:
    """Five pairs of three tokens each: four fit a budget of 14."""
    scorer = OracleScorer()
    reranker = CrossEncoderReranker(scorer)
    ranking = reranker.rerank("q", hits_worth(range(5)), budget=Budget(tokens=14))
    assert (ranking.usage.calls, ranking.usage.input_tokens) == (4, 12)
    assert worths_of(ranking) == [3, 2, 1, 0, 4]
    assert ranking.statuses == {"ok": 4, "skipped": 1}
    assert len(scorer.batches[0]) == 4


def test_the_order_is_the_models(minilm_with_a_head: CrossEncoder, tmp_path: Path) -> None:
    query = "Which bird waits for fish?"
    texts = [f"A heron waits {number} minutes." for number in range(9)]
    hits = [Hit(Passage(text, "d", text, 0, len(text)), 1.0) for text in texts]
    ranking = CrossEncoderReranker(minilm_with_a_head).rerank(query, hits)
    found = minilm_with_a_head.score_pairs([(query, text) for text in texts])
    assert [hit.score for hit in ranking.hits] == pytest.approx(
        sorted((each.score for each in found), reverse=True), abs=1e-5
    )
    assert ranking.usage.input_tokens == sum(each.input_tokens for each in found)

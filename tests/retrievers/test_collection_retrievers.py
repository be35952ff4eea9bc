"""The retrievers of a collection: the conformance suite, fusion, and failures."""

from functools import partial

import pytest

from rag.core.documents import Document
from rag.core.errors import InputError, SearchFailed, StorageError
from rag.indexes import Collection
from rag.retrievers import (
    DenseRetriever,
    HybridRetriever,
    LexicalRetriever,
    reciprocal_rank_fusion,
    weighted_fusion,
)
from rag.testing.embedders import HashEmbedder
from rag.testing.retriever_conformance import DOCUMENTS, RetrieverConformance


@pytest.fixture(scope="module")
def make_collection(tmp_path_factory):
    collections = []

    def make(documents):
        path = tmp_path_factory.mktemp("retrievers") / "collection"
        collection = Collection.create(path, HashEmbedder())
        collections.append(collection)
        collection.add(documents)
        return collection

    yield make
    for collection in collections:
        collection.close()


@pytest.fixture(scope="module")
def full(make_collection):
    return make_collection(DOCUMENTS)


class CollectionConformance(RetrieverConformance):
    @pytest.fixture(autouse=True)
    def collections(self, make_collection, full):
        self.collection_of = lambda documents: full if documents else make_collection([])


class TestDense(CollectionConformance):
    def make_retriever(self, documents):
        return DenseRetriever(self.collection_of(documents))


class TestLexical(CollectionConformance):
    def make_retriever(self, documents):
        return LexicalRetriever(self.collection_of(documents))


class TestHybrid(CollectionConformance):
    def make_retriever(self, documents):
        return HybridRetriever(self.collection_of(documents))


class TestHybridByRanks(CollectionConformance):
    def make_retriever(self, documents):
        return HybridRetriever(self.collection_of(documents), reciprocal_rank_fusion)


@pytest.mark.parametrize(
    "fusion",
    [reciprocal_rank_fusion, weighted_fusion, partial(weighted_fusion, weights=(0.9, 0.1))],
)
def test_hybrid_fuses_its_parts(full, fusion):
    query = "otter survey of 2011"
    parts = [kind(full).search(query, 100) for kind in (DenseRetriever, LexicalRetriever)]
    hits = HybridRetriever(full, fusion).search(query, 6)
    assert hits == fusion(parts)[:6]
    assert set(hits[0].scores) == set(hits[0].ranks) == {"dense", "lexical"}


def test_hybrid_survives_a_part_without_hits(full):
    query = "zebra"
    assert LexicalRetriever(full).search(query) == []
    hits = HybridRetriever(full).search(query)
    assert len(hits) == 10
    assert all(set(hit.scores) == {"dense"} for hit in hits)


def test_search_is_a_batch_of_one(full):
    retriever = LexicalRetriever(full)
    where = {"lang": "en"}
    assert retriever.search("heron", 3, where) == retriever.search_many(["heron"], 3, where)[0]
    assert len(retriever.search("survey")) == 10


def test_a_change_is_seen_by_the_next_search(make_collection):
    collection = make_collection(DOCUMENTS[:3])
    retriever = HybridRetriever(collection)
    collection.add([Document("new", "A zebra was seen.")])
    assert retriever.search("a zebra was seen")[0].passage.document_id == "new"
    collection.remove(["new"])
    assert "new" not in {hit.passage.document_id for hit in retriever.search("a zebra was seen")}


class Failing:
    """A collection one of whose indexes fails."""

    def __init__(self, part, error):
        self.part, self.error = part, error

    def search_dense(self, queries, top_k, where=None):
        return self._search("dense", queries)

    def search_lexical(self, queries, top_k, where=None):
        return self._search("lexical", queries)

    def search_fused(self, queries, top_k, where=None, *, candidates, fusion):
        raise self.error

    def _search(self, part, queries):
        if part == self.part:
            raise self.error
        return [[] for _ in queries]


@pytest.mark.parametrize("part", ["dense", "lexical"])
@pytest.mark.parametrize(
    "error", [StorageError("docs", "the disk is gone"), RuntimeError("out of memory")]
)
def test_a_part_that_fails_is_an_error(part, error):
    kind = {"dense": DenseRetriever, "lexical": LexicalRetriever}[part]
    for retriever in (kind(Failing(part, error)), HybridRetriever(Failing(part, error))):
        with pytest.raises(SearchFailed, match=str(error)) as raised:
            retriever.search("heron")
        assert raised.value.retriever == retriever.name
        assert raised.value.__cause__ is error


def test_a_caller_s_mistake_is_not_a_failed_search(full):
    with pytest.raises(InputError):
        HybridRetriever(full).search("heron", top_k=0)

"""Search among worked examples: the conformance suite, as far as examples have what it asks for."""

import numpy as np
import pytest

from rag.core.answers import Step
from rag.core.errors import InputError
from rag.core.worked_examples import WorkedExample
from rag.models.embedders import SentenceTransformerEmbedder
from rag.retrievers import ExampleRetriever
from rag.testing import HashEmbedder
from rag.testing.retriever_conformance import DOCUMENTS, RetrieverConformance


class TestConformance(RetrieverConformance):
    def make_retriever(self, documents):
        examples = [WorkedExample(f"{each.title} {each.text}", each.id) for each in documents]
        return ExampleRetriever(examples, HashEmbedder(512))

    def test_finds_a_document_by_its_words(self, retriever):
        queries = [f"{document.title} {document.text}" for document in DOCUMENTS]
        found = retriever.search_many(queries, 3)
        assert [hits[0].passage.document_id for hits in found] == queries

    def test_passages_are_whole(self, retriever):
        """A passage is a question, by which a pool finds the example."""
        (hits,) = retriever.search_many(["survey"], len(DOCUMENTS))
        for passage in (hit.passage for hit in hits):
            assert passage.id == passage.document_id == passage.text
            assert (passage.start, passage.end) == (0, len(passage.text))

    @pytest.mark.parametrize(
        ("where", "found"), [({}, 3), ({"year": 2011}, 0), ({"year": {"exists": False}}, 3)]
    )
    def test_filters_are_exact(self, retriever, where, found):
        """Examples have no metadata; a filter means the same all the same."""
        (hits,) = retriever.search_many(["survey of the otter"], 3, where)
        assert len(hits) == found


def test_scores_are_dot_products_of_questions_as_queries():
    embedder = HashEmbedder(query_prefix="query: ", passage_prefix="passage: ")
    questions = ["Who directed Jaws?", "Where is Leeds?"]
    retriever = ExampleRetriever([WorkedExample(each, "") for each in questions], embedder)
    (hits,) = retriever.search_many(["Who directed Alien?"], 2)
    asked = embedder.embed_queries(["Who directed Alien?"])[0]
    assert [hit.passage.text for hit in hits] == questions
    for hit in hits:
        expected = np.dot(embedder.embed_queries([hit.passage.text])[0], asked)
        assert hit.score == pytest.approx(float(expected))
        assert hit.scores == {"examples": hit.score}
    assert [hit.ranks for hit in hits] == [{"examples": 1}, {"examples": 2}]


def test_equal_examples_keep_their_order_and_equal_questions_are_one():
    questions = ["b?", "a?", "b?"]
    retriever = ExampleRetriever([WorkedExample(each, "") for each in questions], HashEmbedder())
    (hits,) = retriever.search_many(["nothing alike"], 9)
    assert [hit.passage.text for hit in hits] == ["b?", "a?"]


def test_questions_are_embedded_once():
    class Counting(HashEmbedder):
        embedded = 0

        def embed_queries(self, texts):
            self.embedded += len(texts)
            return super().embed_queries(texts)

    embedder = Counting()
    examples = [WorkedExample(f"number {n}?", "", steps=(Step("?"),)) for n in range(5)]
    retriever = ExampleRetriever(examples, embedder)
    assert embedder.embedded == 5
    retriever.search_many(["one", "two"], 3)
    assert embedder.embedded == 7


def test_a_question_that_is_too_long_is_refused_at_once():
    with pytest.raises(InputError, match="reads 3"):
        ExampleRetriever([WorkedExample("one two three four", "")], HashEmbedder(max_tokens=3))


def test_with_a_real_embedder(minilm: SentenceTransformerEmbedder):
    questions = ["Who directed the film Jaws?", "What is the capital of France?", "Is 7 prime?"]
    retriever = ExampleRetriever([WorkedExample(each, "") for each in questions], minilm)
    found = retriever.search_many(["Whose movie is Alien?", "Which town rules Spain?"], 1)
    assert [hits[0].passage.text for hits in found] == questions[:2]

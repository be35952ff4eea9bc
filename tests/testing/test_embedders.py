import subprocess
import sys

import numpy as np
import pytest

from rag.core.errors import InputError
from rag.testing.embedder_conformance import EmbedderConformance
from rag.testing.embedders import HashEmbedder


class TestHashEmbedder(EmbedderConformance):
    def make_embedder(self) -> HashEmbedder:
        return HashEmbedder()


class TestHashEmbedderWithPrefixes(EmbedderConformance):
    def make_embedder(self) -> HashEmbedder:
        return HashEmbedder(128, query_prefix="query: ", passage_prefix="passage: ")


def test_vectors_are_the_same_in_every_process() -> None:
    script = (
        "from rag.testing.embedders import HashEmbedder;"
        "print(HashEmbedder(8).embed_queries(['one two three']).tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{HashEmbedder(8).embed_queries(['one two three']).tolist()}\n"}


def test_similarity_is_that_of_words() -> None:
    same, reordered, other = HashEmbedder(1024).embed_passages(
        ["red green blue", "Blue red GREEN", "one two three"]
    )
    assert same @ reordered == pytest.approx(1)
    assert same @ other == pytest.approx(0, abs=0.4)


def test_words_that_cancel_out_still_have_a_direction() -> None:
    vectors = HashEmbedder(1).embed_passages([str(number) for number in range(50)] + ["1 2 3 4"])
    assert np.array_equal(np.abs(vectors), np.ones((51, 1)))


def test_spans_are_words_and_marks() -> None:
    assert HashEmbedder().token_spans(["Don't stop!"]) == [
        [(0, 3), (3, 4), (4, 5), (6, 10), (10, 11)]
    ]


def test_limit_counts_the_prefix() -> None:
    with pytest.raises(InputError, match="query 0 has 3 tokens"):
        HashEmbedder(max_tokens=2, query_prefix="q: ").embed_queries(["x"])

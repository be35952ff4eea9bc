"""What every `Embedder` has to do.

Inherit the suite in a test module and say how an embedder is made::

    class TestMyEmbedder(EmbedderConformance):
        def make_embedder(self):
            return MyEmbedder()
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rag.core.errors import InputError
from rag.core.protocols import Embedder

TEXTS = (
    "The grey heron stands in shallow water and waits for fish.",
    "A heron waits.",
    "Compilers translate programs into machine code; linkers put the pieces together.",
    "",
    " \n",
    "Jürgen's naïve café — 北京 🦉",
    "The grey heron stands in shallow water and waits for fish.",
)
"""Short, long, empty, blank and foreign texts; the last repeats the first."""


class EmbedderConformance:
    """The suite.

    Attributes:
        tolerance: How far from 1 the cosine of two embeddings of one text may be.
    """

    tolerance = 1e-3

    def make_embedder(self) -> Embedder:
        """Return the embedder; called for each test, so share what is slow to load."""
        raise NotImplementedError

    @pytest.fixture
    def embedder(self) -> Embedder:
        """The embedder under test."""
        return self.make_embedder()

    def test_describes_itself(self, embedder: Embedder) -> None:
        """A collection's manifest can say what its vectors are."""
        for text in (embedder.name, embedder.revision, embedder.pooling):
            assert isinstance(text, str)
            assert text
        assert embedder.dimension > 0
        assert embedder.max_tokens > embedder.special_tokens >= 0
        assert isinstance(embedder.query_prefix, str)
        assert isinstance(embedder.passage_prefix, str)

    def test_returns_one_float32_row_a_text(self, embedder: Embedder) -> None:
        """FAISS can take the vectors as they are."""
        for vectors in (embedder.embed_passages(TEXTS), embedder.embed_queries(TEXTS)):
            assert vectors.dtype == np.float32
            assert vectors.shape == (len(TEXTS), embedder.dimension)
            assert vectors.flags.c_contiguous
            assert np.isfinite(vectors).all()

    def test_embeds_nothing(self, embedder: Embedder) -> None:
        """No texts give no rows, of the right length."""
        assert embedder.embed_passages([]).shape == (0, embedder.dimension)
        assert embedder.embed_queries([]).shape == (0, embedder.dimension)
        assert embedder.token_spans([]) == []

    def test_normalises_where_it_says_so(self, embedder: Embedder) -> None:
        """`normalized` means vectors of length 1."""
        lengths = np.linalg.norm(embedder.embed_passages(TEXTS), axis=1)
        assert not embedder.normalized or np.allclose(lengths, 1, atol=1e-5)

    def test_keeps_the_order_of_texts(self, embedder: Embedder) -> None:
        """A row belongs to its text, whatever it was batched with."""
        together = embedder.embed_passages(TEXTS)
        alone = np.vstack([embedder.embed_passages([text]) for text in TEXTS])
        assert _cosines(together, alone).min() > 1 - self.tolerance

    def test_embeds_identical_texts_alike(self, embedder: Embedder) -> None:
        """Equal texts of one call have equal vectors."""
        vectors = embedder.embed_passages(TEXTS)
        assert np.array_equal(vectors[0], vectors[-1])

    def test_tells_texts_apart(self, embedder: Embedder) -> None:
        """A text is nearer to one on the same thing than to another."""
        heron, short, compilers = embedder.embed_passages(TEXTS[:3])
        assert _cosines(heron, short) > _cosines(heron, compilers)

    def test_finds_tokens_in_order(self, embedder: Embedder) -> None:
        """Token spans lie in the text, one after another, and leave out special tokens."""
        for text, spans in zip(TEXTS, embedder.token_spans(TEXTS), strict=True):
            ends = 0
            for start, end in spans:
                # Tokens may share a character that takes several of them.
                assert 0 <= start <= end <= len(text)
                assert end >= ends
                ends = end
            assert bool(spans) == bool(text.strip())

    def test_reads_texts_up_to_its_limit(self, embedder: Embedder) -> None:
        """A text of `max_tokens` is read, a longer one refused by index, tokens and limit."""
        for prefix, embed in (
            (embedder.passage_prefix, embedder.embed_passages),
            (embedder.query_prefix, embedder.embed_queries),
        ):
            (before,) = embedder.token_spans([prefix])
            room = embedder.max_tokens - embedder.special_tokens - len(before)
            embed(["a " * room])
            with pytest.raises(InputError) as caught:
                embed(["short", "short", "a " * (room + 1)])
            words = str(caught.value).replace(";", " ").split()
            assert {"2", str(embedder.max_tokens), str(embedder.max_tokens + 1)} <= set(words)

    def test_reports_progress(self, embedder: Embedder) -> None:
        """Progress only grows and ends at its total."""
        reports: list[tuple[str, int, int | None]] = []
        embedder.embed_passages(
            [f"passage {number}" for number in range(40)],
            lambda stage, done, total: reports.append((stage, done, total)),
        )
        done = [each[1] for each in reports]
        assert done == sorted(done)
        assert done[-1] == reports[-1][2]

    def test_serves_threads(self, embedder: Embedder) -> None:
        """Several threads get what one gets."""
        texts = [f"{text} {number}" for number in range(4) for text in TEXTS]
        expected = np.vstack([embedder.embed_queries([text]) for text in texts])
        with ThreadPoolExecutor(4) as threads:
            found = np.vstack(list(threads.map(lambda text: embedder.embed_queries([text]), texts)))
        assert _cosines(found, expected).min() > 1 - self.tolerance


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    cosines: np.ndarray = (left * right).sum(axis=-1) / lengths
    return cosines

"""An embedder for tests: no model, no download, the same vectors everywhere."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from rag.core.errors import InputError
from rag.core.progress import Progress, silent
from rag.core.protocols import Vectors

_TOKEN = re.compile(r"\w+|[^\w\s]")


class HashEmbedder:
    """Embeds a text as the bag of its words, each hashed to a signed place of the vector.

    Texts that share words are similar, others are nearly orthogonal; meaning plays no part. The
    vectors depend on nothing but the text and the dimension (the hashing trick of
    arXiv 0902.2206, with CRC-32).

    Args:
        dimension: Length of a vector.
        max_tokens: Longest text it reads, in words and punctuation marks.
        query_prefix: Text put before queries.
        passage_prefix: Text put before passages.
    """

    revision = "1"
    pooling = "mean"
    normalized = True
    special_tokens = 0

    def __init__(
        self,
        dimension: int = 64,
        *,
        max_tokens: int = 256,
        query_prefix: str = "",
        passage_prefix: str = "",
    ) -> None:
        self.name = f"hash-{dimension}"
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.query_prefix = query_prefix
        self.passage_prefix = passage_prefix

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return the character range of each word and punctuation mark."""
        return [[match.span() for match in _TOKEN.finditer(text)] for text in texts]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed queries; shape (texts, dimension).

        Raises:
            InputError: A query is longer than `max_tokens`.
        """
        return self._embed("query", self.query_prefix, texts, silent)

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        """Embed passages; shape (texts, dimension).

        Raises:
            InputError: A passage is longer than `max_tokens`.
        """
        return self._embed("passage", self.passage_prefix, texts, progress)

    def _embed(self, kind: str, prefix: str, texts: Sequence[str], progress: Progress) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            tokens = _TOKEN.findall((prefix + text).lower())
            if len(tokens) > self.max_tokens:
                raise InputError(
                    f"{kind} {row} has {len(tokens)} tokens but {self.name} reads "
                    f"{self.max_tokens}; shorten it or split it"
                )
            for token in tokens:
                place, odd = divmod(zlib.crc32(token.encode("utf-8", "surrogatepass")), 2)
                vectors[row, place % self.dimension] += -1 if odd else 1
            if not vectors[row].any():  # no words, or words that cancel out
                vectors[row, 0] = 1
            progress("embedding", row + 1, len(texts))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

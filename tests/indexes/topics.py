"""Texts of two topics, whose vectors have next to nothing in common."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from rag.core.documents import Document
from rag.core.progress import Progress
from rag.core.protocols import Vectors
from rag.testing.embedders import HashEmbedder

DIMENSION = 32


class TopicEmbedder(HashEmbedder):
    """Embeds a text that begins with 'east' or 'west' somewhere in that half of all directions."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.name = "topics"

    def _embed(self, kind: str, prefix: str, texts: Sequence[str], progress: Progress) -> Vectors:
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        for row, text in enumerate(texts):
            vector = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIMENSION)
            half = DIMENSION // 2
            vector[half:] *= 0.02
            vectors[row] = np.roll(vector, 0 if text.startswith("east") else half)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


EMBEDDER = TopicEmbedder()


def documents(topic: str, count: int, start: int = 0) -> Iterator[Document]:
    """Yield documents of one sentence."""
    for number in range(start, start + count):
        yield Document(f"{topic}-{number}", f"{topic} is text number {number}.")


def questions(topic: str, count: int) -> list[str]:
    """Return questions of a topic."""
    return [f"{topic} asks question number {number}?" for number in range(count)]

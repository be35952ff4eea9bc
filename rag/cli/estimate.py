"""What indexing would take, measured on a sample of the passages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.core.documents import Document
from rag.core.progress import Progress

if TYPE_CHECKING:
    from rag.core.protocols import Embedder
    from rag.indexes import Manifest

SAMPLE = 64
"""Passages that are embedded to measure the speed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What indexing would take.

    Args:
        files: Documents to index.
        passages: Passages that they are split into.
        tokens: Tokens to embed, those that the model adds included.
        estimated_seconds: Time to embed them, at the speed of a sample.
    """

    files: int
    passages: int
    tokens: int
    estimated_seconds: float


def estimate(
    documents: Iterable[Document], embedder: Embedder, manifest: Manifest, progress: Progress
) -> Estimate:
    """Split documents, embed a sample of the passages, and say what all of them take."""
    from rag.text import Splitter

    (prefix,) = embedder.token_spans([embedder.passage_prefix])
    added = embedder.special_tokens + len(prefix)
    splitter = Splitter(
        embedder.token_spans, manifest.passage_tokens, manifest.overlap, special_tokens=added
    )
    texts: list[str] = []
    lengths: list[int] = []
    files = 0
    for document in documents:
        (passages,) = splitter.split([document])
        here = [passage.indexed_text for passage in passages]
        lengths += [len(spans) + added for spans in embedder.token_spans(here)]
        texts += here
        files += 1
    # Spread over all files, for they differ in length.
    step = max(1, len(texts) // SAMPLE)
    sample = texts[::step]
    if not sample:
        return Estimate(files, 0, 0, 0.0)
    embedder.embed_passages(sample[:1])  # the first call is slower than the others
    began = time.perf_counter()
    embedder.embed_passages(sample, progress)
    share = sum(lengths[::step]) / sum(lengths)
    seconds = round((time.perf_counter() - began) / share, 1)
    return Estimate(files, len(texts), sum(lengths), seconds)

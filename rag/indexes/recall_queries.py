"""The queries that recall is measured with: drawn from a collection or given, and kept with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rag.core.errors import InputError
from rag.core.protocols import Embedder, Vectors
from rag.indexes.manifest import write_atomically
from rag.indexes.records import VectorCodec
from rag.indexes.snapshot import Snapshot
from rag.text.sentences import sentence_spans

QUERIES_NAME = "recall-queries.npy"

_QUERIES = 500
_FEWEST = 4  # two for each half
_TOKENS = (4, 64)  # the fewest and the most of a drawn query
_SENTENCE_MARKS = tuple(".!?…。\uff01\uff1f")
_CLOSERS = "\"'”\u2019)]」』\uff09"


def query_vectors(snapshot: Snapshot, embedder: Embedder, queries: Sequence[str] | None) -> Vectors:
    """Return the vectors of different queries, in an order made by chance, the same each time.

    Args:
        snapshot: The store, which decides how exactly vectors are kept.
        embedder: Embeds the queries.
        queries: The queries; None draws 500 sentences, each from another passage where there are
            so many.

    Returns:
        float32 of shape (n, dimension), with the numbers that are kept of it.

    Raises:
        InputError: There are fewer than 4 different queries, or one cannot be embedded.
    """
    rng = np.random.default_rng(0)
    texts = list(dict.fromkeys(_drawn(snapshot, embedder, rng) if queries is None else queries))
    if len(texts) < _FEWEST:
        where = "could be drawn from the passages" if queries is None else "were given"
        raise InputError(
            f"{len(texts)} different queries {where}; measuring recall takes at least {_FEWEST}, "
            "and some hundreds to be precise: give `queries`"
        )
    vectors = embedder.embed_queries([texts[each] for each in rng.permutation(len(texts))])
    return snapshot.codec.decode(snapshot.codec.encode(vectors), snapshot.path)


def halves(count: int) -> tuple[slice, slice]:
    """Return which of some queries a setting is chosen by, and which ones it is checked with."""
    return slice(0, count // 2), slice(count // 2, count)


def keep_queries(folder: Path, queries: Vectors, codec: VectorCodec) -> None:
    """Write the vectors of queries into a collection's directory.

    Raises:
        StorageError: The disk refused.
    """
    content = io.BytesIO()
    np.save(content, queries.astype(codec.dtype), allow_pickle=False)
    write_atomically(folder / QUERIES_NAME, content.getvalue())


def kept_queries(folder: Path, codec: VectorCodec) -> Vectors | None:
    """Return the vectors that were kept, None if they are missing or damaged."""
    try:
        with (folder / QUERIES_NAME).open("rb") as file:
            kept = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError):
        return None
    if kept.dtype != codec.dtype or kept.shape[1:] != (codec.dimension,):
        return None
    return kept.astype(np.float32) if len(kept) >= _FEWEST and np.isfinite(kept).all() else None


def _drawn(snapshot: Snapshot, embedder: Embedder, rng: np.random.Generator) -> list[str]:
    """Draw a sentence from each of some passages."""
    ids = snapshot.ids()
    if not len(ids):
        return []
    chosen = rng.choice(ids, _QUERIES, replace=len(ids) < _QUERIES).tolist()
    passages = snapshot.passages(chosen)
    texts = []
    for number in chosen:
        sentences = _sentences(passages[number].text)
        texts.append(sentences[rng.integers(len(sentences))])
    fewest, most = _TOKENS
    return [
        text[: spans[:most][-1][1]]
        for text, spans in zip(texts, embedder.token_spans(texts), strict=True)
        if len(spans) >= fewest
    ]


def _sentences(text: str) -> list[str]:
    """Return the sentences of a text that end like one, as headings do not, or else the text."""
    sentences = [text[start:end] for start, end in sentence_spans(text)]
    return [each for each in sentences if each.rstrip(_CLOSERS).endswith(_SENTENCE_MARKS)] or [text]

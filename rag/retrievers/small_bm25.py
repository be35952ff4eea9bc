"""BM25 over a handful of texts that are at hand once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log

from rag.core.extras import require
from rag.text.stems import stems


def bm25_scores(query: str, texts: Sequence[str]) -> list[float]:
    """Score texts by the words that they share with a query.

    Okapi BM25 (Robertson et al., TREC-3, 1994) with k1 = 1.2 and b = 0.75, as the package rank-bm25
    computes it, except for the weight of a term. Okapi's is 0 for a term in half of the texts,
    and below 0 for one in more of them, which is most terms of few texts; Lucene's,
    ln(1 + (N - n + 0.5) / (n + 0.5)) for a term in n of N texts, is above 0 and falls with n.

    Args:
        query: Words, as plain text. Function words count only where there is nothing else.
        texts: What is scored; may be empty.

    Returns:
        A score for each text: above 0 where it has a word of the query, else 0.

    Raises:
        MissingExtra: rank-bm25 is not installed.
    """
    bags = [stems(text) for text in texts]
    if not any(bags):
        return [0.0] * len(texts)
    rank_bm25 = require(
        "rank_bm25", extra="web", needed_for="Ranking web pages", package="rank-bm25"
    )
    bm25 = rank_bm25.BM25Okapi(bags, k1=1.2, b=0.75)
    found = Counter(term for frequencies in bm25.doc_freqs for term in frequencies)
    bm25.idf = {
        term: log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for term, count in found.items()
    }
    scores: list[float] = bm25.get_scores(stems(query, content_only=True) or stems(query)).tolist()
    return scores

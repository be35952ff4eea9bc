"""Mixed ranking: which results of a web search to read, and which passages of the pages matter.

Search engines order results by more than relevance. So results are ranked anew, first by what the
engine shows of them, which decides the pages to fetch, then by the passages of those pages, after
arXiv 2411.19478, which ranks by snippets and by full content. How the paper weighs the two is not
published; the weights here are this project's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from rag.core.documents import Passage
from rag.core.errors import BudgetExhausted
from rag.core.hits import Hit
from rag.core.operations import Note, together
from rag.core.protocols import Embedder
from rag.core.search_operations import Embed
from rag.retrievers.fusion import weighted_fusion
from rag.retrievers.small_bm25 import bm25_scores

_MOST_EMBEDDED = 128
"""Passages of a query that are embedded, a few seconds' work without a GPU; of more, those that
share most words with the query."""

Signals = dict[str, dict[str, float]]
"""Scores by name of the signal and id of the passage."""


@dataclass(frozen=True, slots=True)
class MixedWeights:
    """What each signal counts; each is scaled to 0 up to 1 over what is ranked.

    Args:
        passage: How relevant a passage is itself.
        page: How relevant its page is: by words the whole text, by meaning the best passage.
        snippet: How relevant the title and snippet of its result are.
        engine: How high the engines rank its page. Little, for that is the bias to be removed; it
            decides between results that are relevant alike.
        dense: The share of meaning in each of the first three; words have the rest. Without an
            embedder words have all.
        repeat: What each better passage of the same page takes off a passage, so that pages take
            turns where passages are relevant nearly alike.
    """

    passage: float = 0.6
    page: float = 0.2
    snippet: float = 0.2
    engine: float = 0.02
    dense: float = 0.5
    repeat: float = 0.03

    def of(self, signals: Iterable[str]) -> dict[str, float]:
        """Return the weight of each signal of one ranking."""
        names = [name.rpartition("_") for name in signals]
        dense = self.dense if any(kind == "dense" for _, _, kind in names) else 0.0
        shares = {"lexical": 1 - dense, "dense": dense}
        return {
            f"{level}_{kind}" if level else kind: getattr(self, level or kind) * shares.get(kind, 1)
            for level, _, kind in names
        }


async def rank_results(
    query: str, results: Sequence[Hit], embedder: Embedder | None, weights: MixedWeights
) -> list[Hit]:
    """Rank results by their snippets.

    Args:
        query: The query.
        results: A hit for each page, whose passage is the snippet, with the page's URL as `uri`,
            and whose score is higher where the engines rank the page higher.
        embedder: What embeds snippets; None ranks by words.
        weights: The weights; snippets have those of passages and pages, too.

    Returns:
        The hits, best first, with the signals 'snippet_lexical', 'snippet_dense' and 'engine'.
    """
    snippets = [hit.passage for hit in results]
    signals = await _relevance(query, snippets, embedder, "snippet")
    signals["engine"] = {hit.passage.id: hit.score for hit in results}
    known = weights.passage + weights.page + weights.snippet
    return _fused(snippets, signals, replace(weights, snippet=known))


async def rank_passages(
    query: str,
    pages: Sequence[tuple[Hit, Sequence[Passage]]],
    embedder: Embedder | None,
    weights: MixedWeights,
) -> list[Hit]:
    """Rank the passages of pages.

    Args:
        query: The query.
        pages: For each page its hit from `rank_results` and its passages.
        embedder: What embeds passages; None ranks by words.
        weights: The weights.

    Returns:
        A hit for each passage, best first, with the signals of `rank_results` and the signals
        'passage_lexical', 'passage_dense', 'page_lexical' and 'page_dense'.
    """
    passages = [passage for _, own in pages for passage in own]
    signals = await _relevance(query, passages, embedder, "passage")
    texts = ["\n".join(passage.indexed_text for passage in own) for _, own in pages]
    whole = bm25_scores(query, texts)
    dense = signals.get("passage_dense", {})
    for (result, own), lexical in zip(pages, whole, strict=True):
        of_page = {**result.scores, "page_lexical": lexical}
        if near := [dense[passage.id] for passage in own if passage.id in dense]:
            of_page["page_dense"] = max(near)
        for name, score in of_page.items():
            signals.setdefault(name, {}).update({passage.id: score for passage in own})
    return _taking_turns(_fused(passages, signals, weights), weights.repeat)


def at_most(per_domain: int, hits: Sequence[Hit]) -> list[Hit]:
    """Leave out the hits of a registered domain after its first `per_domain`."""
    seen: Counter[str] = Counter()
    left = []
    for hit in hits:
        domain = registered_domain(hit.passage.uri)
        seen[domain] += 1
        if seen[domain] <= per_domain:
            left.append(hit)
    return left


def registered_domain(url: str) -> str:
    """Return the part of a URL's host that somebody registered.

    For 'https://docs.example.co.uk/x' that is 'example.co.uk'; for an address or a name without
    a public suffix the host and port; for what is no URL the text itself.
    """
    from courlan import extract_domain

    try:
        return extract_domain(url) or urlsplit(url).netloc or url
    except ValueError:
        return url


async def _relevance(
    query: str, passages: Sequence[Passage], embedder: Embedder | None, level: str
) -> Signals:
    """Score passages by words and, if there is an embedder, by meaning."""
    # Words of the label count twice, as they do in a collection.
    texts = [f"{passage.label}\n{passage.indexed_text}" for passage in passages]
    words = bm25_scores(query, texts)
    lexical = {passage.id: score for passage, score in zip(passages, words, strict=True)}
    signals = {f"{level}_lexical": lexical}
    if embedder is None:
        return signals
    best = sorted(passages, key=lambda each: -lexical[each.id])[:_MOST_EMBEDDED]
    try:
        sought, *vectors = await together(
            Embed(query, embedder, "query"), *(Embed(each.indexed_text, embedder) for each in best)
        )
    except BudgetExhausted as error:
        await Note(f"ranked by words alone: {error}")
        return signals
    near = {each.id: float(vector @ sought) for each, vector in zip(best, vectors, strict=True)}
    return {**signals, f"{level}_dense": near}


def _fused(passages: Sequence[Passage], signals: Signals, weights: MixedWeights) -> list[Hit]:
    weight_of = weights.of(signals)
    return weighted_fusion(
        [_ranking(name, passages, scores) for name, scores in signals.items()],
        [weight_of[name] for name in signals],
    )


def _ranking(name: str, passages: Sequence[Passage], scores: Mapping[str, float]) -> list[Hit]:
    """Rank passages by one signal; those that it scores alike share a rank."""
    known = [passage for passage in passages if passage.id in scores]
    ranks = {each: rank for rank, each in enumerate(sorted({*scores.values()}, reverse=True), 1)}
    hits = [
        Hit(passage, score, {name: score}, {name: ranks[score]})
        for passage in known
        for score in [scores[passage.id]]
    ]
    return sorted(hits, key=lambda hit: -hit.score)


def _taking_turns(hits: Sequence[Hit], repeat: float) -> list[Hit]:
    """Take `repeat` off each hit for each better one of its page, and sort anew."""
    better: Counter[str] = Counter()
    turned = []
    for hit in hits:
        page = hit.passage.document_id
        turned.append(replace(hit, score=hit.score - repeat * better[page]))
        better[page] += 1
    return sorted(turned, key=lambda hit: (-hit.score, hit.passage.id))

"""Fusion: one ranking of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rag.core.errors import InputError
from rag.core.hits import Hit

Fusion = Callable[[Sequence[Sequence[Hit]]], list[Hit]]
"""Makes one ranking of several of the same query."""


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Hit]], k: int = 60, weights: Sequence[float] | None = None
) -> list[Hit]:
    """Rank passages by the sum of weight / (k + rank) over the rankings that hold them.

    Cormack, Clarke and Büttcher, 'Reciprocal Rank Fusion outperforms Condorcet and individual
    Rank Learning Methods' (SIGIR 2009).

    Args:
        rankings: Hits of the same query, best first; any may be empty.
        k: How little the first ranks stand out.
        weights: A weight for each ranking; None gives each 1.

    Returns:
        Every passage once, best first, equal scores by passage id, with the scores and ranks of
        all its hits.

    Raises:
        InputError: There is not one weight for each ranking.
    """
    weights = _checked([1.0] * len(rankings) if weights is None else weights, rankings)
    return _fuse(
        rankings,
        (
            [weight / (k + rank) for rank in range(1, len(ranking) + 1)]
            for ranking, weight in zip(rankings, weights, strict=True)
        ),
    )


def weighted_fusion(
    rankings: Sequence[Sequence[Hit]], weights: Sequence[float] | None = None
) -> list[Hit]:
    """Rank passages by the weighted sum of their scores, each ranking's scaled to 0 up to 1.

    The best of a ranking gets 1, the last 0, and so does a passage that it does not hold. Rankings
    should be about equally long, and much longer than what is used of the result.

    Args:
        rankings: Hits of the same query, best first; any may be empty.
        weights: A weight for each ranking; None weighs them equally.

    Returns:
        Every passage once, best first, equal scores by passage id, with the scores and ranks of
        all its hits.

    Raises:
        InputError: There is not one weight for each ranking.
    """
    equal = [1 / len(rankings) for _ in rankings]
    weights = _checked(equal if weights is None else weights, rankings)
    return _fuse(
        rankings,
        (
            [weight * share for share in _scaled(ranking)]
            for ranking, weight in zip(rankings, weights, strict=True)
        ),
    )


def _checked(weights: Sequence[float], rankings: Sequence[Sequence[Hit]]) -> Sequence[float]:
    if len(weights) != len(rankings):
        raise InputError(f"{len(rankings)} rankings need as many weights, not {len(weights)}")
    return weights


def _scaled(ranking: Sequence[Hit]) -> list[float]:
    scores = [hit.score for hit in ranking]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    # Where all are equal, none is last.
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _fuse(rankings: Sequence[Sequence[Hit]], shares: Iterable[Sequence[float]]) -> list[Hit]:
    """Add up what each ranking gives to each passage."""
    fused: dict[str, Hit] = {}
    for ranking, given in zip(rankings, shares, strict=True):
        for hit, share in zip(ranking, given, strict=True):
            known = fused.get(hit.passage.id)
            fused[hit.passage.id] = (
                Hit(hit.passage, share, hit.scores, hit.ranks)
                if known is None
                else Hit(
                    hit.passage,
                    known.score + share,
                    {**known.scores, **hit.scores},
                    {**known.ranks, **hit.ranks},
                )
            )
    return sorted(fused.values(), key=lambda hit: (-hit.score, hit.passage.id))

"""What a model that learns to rank is to make small."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def first_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    identifiers: torch.Tensor,
    grades: torch.Tensor,
    weight: float = 10.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two terms of FIRST's joint loss, L_LM and lambda times L_Rank.

    The model learns to write the ranking, and that the logits in place of its first identifier are
    in the ranking's order. Source: FIRST, arXiv 2406.15657 (L_Joint).

    Args:
        logits: What predicts each token of the ranking; shape (tokens, vocabulary).
        targets: The tokens of the ranking, the first one that of the best identifier; shape
            (tokens,).
        identifiers: The token of each passage's identifier, best passage first; shape (passages,).
        grades: The passages' grades; see `weighted_ranknet`.
        weight: lambda; 10 is what the paper has for weighted RankNet.

    Returns:
        Two scalars, whose sum is the loss.
    """
    from torch.nn.functional import cross_entropy

    ranking = weighted_ranknet(logits[0, identifiers], grades)
    return cross_entropy(logits, targets), weight * ranking


def weighted_ranknet(scores: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """Return RankNet's loss, in which pairs near the top count more.

    It is the mean, over all pairs of a passage at rank i that has a higher grade than one at rank
    j, of log(1 + exp(s_j - s_i)) / (i + j). Source: FIRST, arXiv 2406.15657 (L_Rank, weighted).

    Args:
        scores: The passages' scores, best passage first; shape (passages,).
        grades: Their grades, none higher than the one before, at least two of them different;
            shape (passages,).

    Returns:
        A scalar.
    """
    import torch
    from torch.nn.functional import softplus

    ranks = torch.arange(1, len(scores) + 1, device=scores.device)
    losses = softplus(scores - scores[:, None]) / (ranks + ranks[:, None])
    return losses[grades[:, None] > grades].mean()


def importance_aware_loss(
    logits: torch.Tensor, targets: torch.Tensor, ranks: torch.Tensor
) -> torch.Tensor:
    """Return the loss of writing a ranking, in which the identifiers at the top count more.

    It is the mean of the tokens' negative log-likelihoods, each times 1 + 1 / log2(r + 1) in the
    identifier at rank r, and times 1 between identifiers. Source: arXiv 2412.14574
    (importance-aware learning objective).

    Args:
        logits: What predicts each token of the ranking; shape (tokens, vocabulary).
        targets: The tokens of the ranking; shape (tokens,).
        ranks: The rank of the identifier that each token belongs to, from 1; 0 for tokens between
            identifiers; shape (tokens,).

    Returns:
        A scalar.
    """
    import torch
    from torch.nn.functional import cross_entropy

    losses = cross_entropy(logits, targets, reduction="none")
    discounts = torch.where(ranks > 0, 1 / torch.log2(ranks.clamp(min=1) + 1), 0)
    return ((1 + discounts) * losses).mean()

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.rerankers.training.losses import first_loss, importance_aware_loss, weighted_ranknet

Array = npt.NDArray[np.float64]


def nll(logits: Array, target: int) -> float:
    """Return -log softmax(logits)[target]."""
    shifted = logits - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[target])


def reference_ranknet(scores: Array, grades: list[int]) -> float:
    losses = []
    for i in range(1, len(scores) + 1):
        for j in range(i + 1, len(scores) + 1):
            if grades[i - 1] > grades[j - 1]:
                difference = scores[j - 1] - scores[i - 1]
                losses.append(math.log1p(math.exp(difference)) / (i + j))
    return sum(losses) / len(losses)


def reference_importance(logits: Array, targets: list[int], ranks: list[int]) -> float:
    total = 0.0
    for row, target, rank in zip(logits, targets, ranks, strict=True):
        total += nll(row, target) * (1 + 1 / math.log2(rank + 1) if rank else 1.0)
    return total / len(targets)


def test_ranknet_by_hand() -> None:
    # Pairs (1, 2), (1, 3), (2, 3): log 2 / 3, log(1 + e) / 4, log(1 + e) / 5.
    scores = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    expected = (math.log(2) / 3 + math.log(1 + math.e) / 4 + math.log(1 + math.e) / 5) / 3
    assert weighted_ranknet(scores, torch.tensor([3, 2, 1])).item() == pytest.approx(expected)
    # Of two passages of one grade neither is to be above the other: the pair (2, 3) is left out.
    expected = (math.log(2) / 3 + math.log(1 + math.e) / 4) / 2
    assert weighted_ranknet(scores, torch.tensor([1, 0, 0])).item() == pytest.approx(expected)


def test_importance_by_hand() -> None:
    # Four equally likely tokens; ranks 1 and 3 weigh 2 and 1.5, what is between them 1.
    logits = torch.zeros(3, 4, dtype=torch.float64)
    loss = importance_aware_loss(logits, torch.tensor([0, 1, 2]), torch.tensor([1, 0, 3]))
    assert loss.item() == pytest.approx((2 + 1 + 1.5) * math.log(4) / 3)


def test_first_by_hand() -> None:
    logits = torch.tensor([[math.log(3), 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    language, ranking = first_loss(
        logits, torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([2, 1])
    )
    assert language.item() == pytest.approx((math.log(5 / 3) + math.log(3)) / 2)
    assert ranking.item() == pytest.approx(10 * math.log(1 + 1 / 3) / 3)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_the_losses_are_those_of_the_papers(seed: int, passages: int) -> None:
    rng = np.random.default_rng(seed)
    tokens, vocabulary = 2 * passages, 12
    logits = rng.normal(scale=3, size=(tokens, vocabulary))
    targets = rng.integers(vocabulary, size=tokens).tolist()
    identifiers = rng.permutation(vocabulary)[:passages].tolist()
    ranks = rng.integers(passages + 1, size=tokens).tolist()
    grades = sorted(rng.integers(4, size=passages).tolist(), reverse=True)
    grades[0] += 1
    language, ranking = first_loss(
        torch.tensor(logits),
        torch.tensor(targets),
        torch.tensor(identifiers),
        torch.tensor(grades),
        weight=2.5,
    )
    expected = np.mean([nll(*each) for each in zip(logits, targets, strict=True)])
    assert language.item() == pytest.approx(expected)
    assert ranking.item() == pytest.approx(2.5 * reference_ranknet(logits[0, identifiers], grades))
    weighted = importance_aware_loss(
        torch.tensor(logits), torch.tensor(targets), torch.tensor(ranks)
    )
    assert weighted.item() == pytest.approx(reference_importance(logits, targets, ranks))


def test_the_ranking_loss_raises_the_best_and_lowers_the_worst() -> None:
    scores = torch.zeros(4, requires_grad=True)
    weighted_ranknet(scores, torch.tensor([4, 3, 2, 1])).backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == sorted(scores.grad.tolist())
    assert scores.grad[0] < 0 < scores.grad[-1]
    # Nothing else is asked for: the sum of the scores stays.
    assert scores.grad.sum().item() == pytest.approx(0, abs=1e-7)

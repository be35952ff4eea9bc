"""Attention with its mass, against the formula in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention

from rag.models.partial_attention import Partial, attend, flex


def slow(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    *,
    causal: bool,
) -> Partial:
    group = query.shape[1] // key.shape[1]
    key, value = (each.double().repeat_interleave(group, 1) for each in (key, value))
    scores = query.double() @ key.transpose(2, 3) * scaling
    if mask is not None:
        scores = scores + mask.double()
    elif causal:
        scores = scores.masked_fill(torch.ones(scores.shape[2:]).triu(1).bool(), -math.inf)
    return Partial(scores.softmax(-1) @ value, scores.logsumexp(-1))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 3),
    group=st.integers(1, 3),
    tokens=st.integers(1, 9),
    keys=st.integers(1, 70),
    kind=st.sampled_from(["none", "causal", "mask"]),
    seed=st.integers(0, 999),
)
def test_both_ways_are_the_formula(
    rows: int, group: int, tokens: int, keys: int, kind: str, seed: int
) -> None:
    causal = kind == "causal"
    keys = tokens if causal else keys
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, 2 * group, tokens, 16, generator=random)
    key, value = (torch.randn(rows, 2, keys, 16, generator=random) for _ in range(2))
    mask = None
    if kind == "mask":
        seen = torch.rand(rows, 1, tokens, keys, generator=random) < 0.6
        seen[..., 0] = True
        mask = torch.zeros(seen.shape).masked_fill(~seen, -math.inf)
    expected = slow(query, key, value, mask, 0.3, causal=causal)
    ways = [attend(query, key, value, mask, 0.3, causal=causal)]
    if kind == "mask":
        ways.append(attend(query, key, value, mask == 0, 0.3))
    ways.append(flex(query, key, value, mask, 0.3, causal=causal, run=flex_attention))
    for found in ways:
        torch.testing.assert_close(found.output.double(), expected.output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.mass.double(), expected.mass, atol=1e-5, rtol=1e-5)


def test_the_mass_of_bfloat16_is_float32() -> None:
    query, key = torch.randn(1, 2, 3, 16).bfloat16(), torch.randn(1, 2, 40, 16).bfloat16()
    found = attend(query, key, key, None, 1.0)
    assert found.mass.dtype == torch.float32
    expected = slow(query, key, key, None, 1.0, causal=False)
    torch.testing.assert_close(found.mass.double(), expected.mass, atol=1e-2, rtol=1e-3)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    query = torch.randn(2, 6, 5, 64, device="cuda")
    key, value = torch.randn(2, 2, 2, 100, 64, device="cuda")
    mask = torch.zeros(2, 1, 1, 100, device="cuda")
    mask[1, ..., 60:] = -math.inf
    expected = slow(query.cpu(), key.cpu(), value.cpu(), mask.cpu(), 0.125, causal=False)
    found = attend(query, key, value, mask, 0.125)
    torch.testing.assert_close(found.output.cpu().double(), expected.output, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.mass.cpu().double(), expected.mass, atol=1e-3, rtol=1e-3)

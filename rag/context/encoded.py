"""The states of one context that was encoded by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch

from rag.core.errors import InputError, ModelError

SCALE_BYTES = 4
"""Bytes of a scale; each channel has one."""
_STEPS = 127
"""Values of int8 on either side of zero."""
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny
"""Keeps channels that are zero, or nearly so, from being divided by zero."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedContext:
    """Keys and values of the tokens of one context, in every layer of a model.

    Made by `of` and `quantised` from what a model computed, and by `ContextStore` from a file.
    They may be shared: nobody changes them.

    Args:
        states: Keys (after rotary embedding) and values, as computed or in int8; shape
            (2, layers, key-value heads, tokens, dimension).
        scales: What int8 is multiplied by; float32, shape
            (2, layers, key-value heads, 1, dimension). None for states as computed.
    """

    states: torch.Tensor
    scales: torch.Tensor | None = None

    @classmethod
    def of(cls, states: torch.Tensor) -> Self:
        """Keep states as they were computed, in memory of their own.

        Args:
            states: Keys and values; shape (2, layers, key-value heads, tokens, dimension).

        Raises:
            InputError: They have another shape, or there are none.
            ModelError: Some are infinite or no numbers.
        """
        _refuse_unusable(states)
        # A view would hold on to all that was computed in one batch.
        return cls(states.detach().clone(memory_format=torch.contiguous_format))

    @classmethod
    def quantised(cls, states: torch.Tensor) -> Self:
        """Round states to int8: symmetric, with one scale a channel, taken over the tokens.

        A value changes by at most half its scale, which is 1/127 of its channel's largest value.

        Args:
            states: Keys and values; shape (2, layers, key-value heads, tokens, dimension).

        Raises:
            InputError: They have another shape, or there are none.
            ModelError: Some are infinite or no numbers.
        """
        _refuse_unusable(states)
        exact = states.detach().float()
        scales = (exact.abs().amax(3, keepdim=True) / _STEPS).clamp_min(_SMALLEST_SCALE)
        rounded = (exact / scales).round_().clamp_(-_STEPS, _STEPS).to(torch.int8)
        return cls(rounded.contiguous(), scales.contiguous())

    @property
    def tokens(self) -> int:
        """Tokens of the context."""
        return int(self.states.shape[3])

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return int(self.states.nbytes + (0 if self.scales is None else self.scales.nbytes))

    def copy_to(self, out: torch.Tensor) -> None:
        """Write the states, as numbers that attention can use, into a tensor.

        Args:
            out: A tensor or view of any floating type on any device; shape
                (2, layers, key-value heads, tokens, dimension).

        Raises:
            InputError: It has another shape.
        """
        if out.shape != self.states.shape:
            raise InputError(
                f"states of shape {tuple(self.states.shape)} do not fit {tuple(out.shape)}"
            )
        if self.scales is None:
            out.copy_(self.states)
        else:
            scales = self.scales.to(out.device)
            out.copy_(self.states.to(out.device).float().mul_(scales))

    def to(self, device: str | torch.device) -> EncodedContext:
        """Return it in the memory of a device."""
        scales = None if self.scales is None else self.scales.to(device)
        return EncodedContext(self.states.to(device), scales)


class RelativeError(NamedTuple):
    """How far vectors are from the exact ones: the norm of the difference over theirs.

    Args:
        largest: That of the vector that is furthest off.
        rms: The root mean square over all vectors.
    """

    largest: float
    rms: float


class Int8Error(NamedTuple):
    """What int8 makes of states; a vector is that of one token in one head of one layer."""

    keys: RelativeError
    values: RelativeError


def int8_error(states: torch.Tensor) -> Int8Error:
    """Return how far states in int8 are from what was computed.

    Args:
        states: Keys and values; shape (2, layers, key-value heads, tokens, dimension).

    Raises:
        InputError: They have another shape, or there are none.
        ModelError: Some are infinite or no numbers.
    """
    exact = states.float()
    restored = torch.empty_like(exact)
    EncodedContext.quantised(states).copy_to(restored)
    errors = (restored - exact).norm(dim=-1) / exact.norm(dim=-1).clamp_min(_SMALLEST_SCALE)
    keys, values = (
        RelativeError(each.amax().item(), each.square().mean().sqrt().item()) for each in errors
    )
    return Int8Error(keys, values)


def _refuse_unusable(states: torch.Tensor) -> None:
    if states.ndim != 5 or states.shape[0] != 2 or not states.numel():
        raise InputError(
            f"states have shape {tuple(states.shape)}; "
            "it must be (2, layers, key-value heads, tokens, dimension), with a token at least"
        )
    if not states.isfinite().all():
        raise ModelError(
            "the model computed keys or values that are infinite or no numbers; "
            "run it in bfloat16 or float32"
        )

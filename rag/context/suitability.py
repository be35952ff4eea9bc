"""Whether a model's contexts can be encoded in parallel, found out by trying."""

from __future__ import annotations

import torch

from rag.core.errors import Unsupported
from rag.models.causal import CausalModel
from rag.models.key_values import state_of
from rag.models.lanes import on_lane
from rag.models.shared_contexts import Shape, share_contexts

_INSTEAD = "read its contexts in sequence"

# Rounding moves the logits by less than a hundredth in bfloat16, and any mistake by more than
# a tenth.
_TOLERANCE = 0.05

# These change with the longest position that was seen, and so would not match keys of before.
_CHANGING = {"dynamic", "longrope"}


class _Whole:
    """States as they were computed."""

    def __init__(self, states: torch.Tensor) -> None:
        self._states = states
        self.tokens = int(states.shape[3])

    def copy_to(self, out: torch.Tensor) -> None:
        out.copy_(self._states)


def shape_of(model: CausalModel, name: str) -> Shape:
    """Return what the states of a model's contexts look like.

    A short text is read in one piece and with its middle as a context encoded apart. Both are
    the same by definition, so a model for which they are not is refused: one that keeps its
    attention to itself, caps its scores, or marks positions in a way that is not known here.

    Args:
        model: The model.
        name: Its name, for errors.

    Raises:
        Unsupported: The model's contexts cannot be encoded in parallel.
    """
    if not model.full_attention:
        what = "encoding contexts apart, since some of its layers see a window or a summary"
        raise Unsupported(name, what, _INSTEAD)
    if changing := _CHANGING & model.rope_types:
        what = f"encoding contexts apart, since its positions are of the kind {changing.pop()}"
        raise Unsupported(name, what, _INSTEAD)
    shape: Shape
    shape, error = on_lane(model.device, _try, model)
    if error > _TOLERANCE:
        what = f"encoding contexts apart: logits differ by {error:.2g} of their size"
        raise Unsupported(name, what, _INSTEAD)
    return shape


@torch.inference_mode()
def _try(model: CausalModel) -> tuple[Shape, float]:
    tokens = [(7 * number + 3) % model.vocabulary for number in range(24)]
    whole = model.nothing_read(1)
    expected = model.read([tokens], whole).float()
    states = whole.slice(0, 0, len(tokens))
    _, layers, heads, _, dimension = states.shape
    shape = Shape(layers, heads, dimension, states.dtype, model.device)
    before, context, after = tokens[:6], tokens[6:18], tokens[18:]
    apart = state_of([[states[:, :, :, : len(before)]]], len(after))
    apart.skips = torch.tensor([len(context)], device=model.device)
    middle = _Whole(states[:, :, :, len(before) : len(before) + len(context)])
    apart.contexts = share_contexts([[(0, middle)]], [(1.0, 1.0)], shape)
    found = model.read([after], apart).float()
    return shape, float((found - expected).norm() / expected.norm())

"""What an adapter says about itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rag.core.errors import InputError
from rag.rerankers.training.recipe import Recipe

Dtype = Literal["float32", "bfloat16"]

_FILE = "training.json"


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """How an adapter was made.

    Args:
        model: Name of the model that it belongs to.
        fingerprint: What tells that model from its other versions.
        dtype: Number format of that model's weights in training.
        device: What it was trained on.
        data: Name of the data.
        lists: Lists that it was trained on.
        recipe: How.
        steps: Steps of the optimiser.
        seconds: Time that it took.
        losses: The terms of the loss, whose sum was made small, by name: a mean over the lists of
            each step.
    """

    model: str
    fingerprint: str
    dtype: Dtype
    device: str
    data: str
    lists: int
    recipe: Recipe
    steps: int
    seconds: float
    losses: dict[str, list[float]]

    def save(self, folder: Path) -> None:
        """Write the card as JSON into an adapter's folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / _FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> AdapterCard:
        """Read the card in an adapter's folder.

        Raises:
            InputError: There is none, or it is malformed.
        """
        from pydantic import TypeAdapter

        try:
            return TypeAdapter(cls).validate_json((folder / _FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds no adapter that `train` wrote: {error}") from error

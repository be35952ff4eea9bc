"""Training of a language model to rank."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.progress import Progress, silent
from rag.models.lanes import on_lane
from rag.rerankers.training.adapter import save_adapter
from rag.rerankers.training.base import Base
from rag.rerankers.training.card import AdapterCard, Dtype
from rag.rerankers.training.curve import plot_losses
from rag.rerankers.training.lists import TrainingList
from rag.rerankers.training.new_folder import new_folder, refuse_existing
from rag.rerankers.training.recipe import Recipe
from rag.rerankers.training.trainer import Trainer

_PACKAGES = {"torch": "local", "transformers": "local", "peft": "train", "matplotlib": "analysis"}


def train(
    model: str,
    lists: Sequence[TrainingList],
    folder: str | Path,
    *,
    data: str,
    recipe: Recipe | None = None,
    device: str = "auto",
    offline: bool | None = None,
    progress: Progress = silent,
) -> AdapterCard:
    """Train a local language model to put passages in order.

    A LoRA adapter (arXiv 2106.09685) is trained, in float32, by AdamW; the model's own weights stay
    as they are. The model reads exactly what the ranker of the recipe's objective will give it.
    At the end, and not before, the folder gets the adapter in peft's format, a card, and a plot of
    the loss; `merged` makes a model of it.

    Args:
        model: A folder or GGUF file, a name of `available_models`, or a model of the Hugging Face
            hub.
        lists: What to learn from, as `training_lists` makes them.
        folder: The adapter's folder; there is nothing yet.
        data: Name of the data, for the card.
        recipe: How to train; as the papers do unless given.
        device: A torch device; 'auto' is a CUDA device where there is one, else the CPU.
        offline: Whether to stay off the network; by default as RAG_OFFLINE says.
        progress: Told the steps done.

    Returns:
        The card, with the loss at each step.

    Raises:
        InputError: There are no lists, something is at `folder` already, or the disk refuses.
        ContextOverflow: A list does not fit the model's window.
        ModelNotFound: There is no such model.
        ModelError: The model cannot be loaded or used, the memory does not suffice, or the loss is
            no longer a number.
        MissingExtra: The extra `local`, `train` or `analysis` is not installed.
    """
    folder, recipe = Path(folder), recipe or Recipe()
    if not lists:
        raise InputError("there are no lists to train on")
    refuse_existing(folder)
    for package, extra in _PACKAGES.items():
        require(package, extra=extra, needed_for="training a reranker")
    import torch

    began = time.monotonic()
    base = Base.find(model, offline)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = _dtype(device)
    batches = list(_batches(len(lists), recipe))
    losses = defaultdict(list)
    with torch.random.fork_rng([device] if torch.device(device).type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        trainer = on_lane(device, Trainer, base, lists, recipe, len(batches), device, dtype)
        # One at a time, so that an interrupt ends the training after the step under way.
        for done, batch in enumerate(batches, 1):
            for name, loss in on_lane(device, trainer.step, batch).items():
                losses[name].append(loss)
            progress("training", done, len(batches))
    card = AdapterCard(
        model=base.name,
        fingerprint=base.fingerprint,
        dtype=dtype,
        device=device,
        data=data,
        lists=len(lists),
        recipe=recipe,
        steps=len(batches),
        seconds=time.monotonic() - began,
        losses=dict(losses),
    )
    with new_folder(folder) as scratch:
        save_adapter(trainer.model, card, scratch)
        plot_losses(card, scratch)
    return card


def _dtype(device: str) -> Dtype:
    """Return the faster format on a device, but for float16, in which small gradients vanish."""
    import torch

    from rag.models.precision import default_dtype

    return "bfloat16" if default_dtype(device) is torch.bfloat16 else "float32"


def _batches(count: int, recipe: Recipe) -> Iterator[list[int]]:
    """Yield the numbers of the lists of each step; each epoch has an order of its own."""
    rng = random.Random(recipe.seed)  # noqa: S311 # nothing secret is drawn
    for _ in range(recipe.epochs):
        rows = rng.sample(range(count), count)
        yield from (rows[start : start + recipe.batch] for start in range(0, count, recipe.batch))

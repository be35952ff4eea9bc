"""A model on its way to becoming a reranker."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.core.errors import ModelError
from rag.rerankers.training.adapter import adapted
from rag.rerankers.training.base import Base
from rag.rerankers.training.examples import Example, make_examples
from rag.rerankers.training.lists import TrainingList
from rag.rerankers.training.losses import first_loss, importance_aware_loss
from rag.rerankers.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

# The customary length: one odd list cannot undo what was learnt from the others.
_LARGEST_GRADIENT = 1.0


class Trainer:
    """A model with an adapter, the lists as tokens, and what changes the adapter.

    To be used by one thread.

    Args:
        base: The model.
        lists: What it learns from.
        recipe: How.
        steps: Steps that there will be, for the learning rate.
        device: A torch device.
        dtype: Number format of the model's own weights.
    """

    def __init__(
        self,
        base: Base,
        lists: Sequence[TrainingList],
        recipe: Recipe,
        steps: int,
        device: str,
        dtype: str,
    ) -> None:
        import torch
        from transformers import get_cosine_schedule_with_warmup
        from transformers.integrations.neftune import activate_neftune

        model, tokenizer = base.load(device, dtype)
        config = model.config.get_text_config(decoder=True)
        # Models without positions have no window.
        window = getattr(config, "max_position_embeddings", sys.maxsize)
        self._examples = make_examples(lists, recipe, tokenizer, base.name, window)
        self.model = adapted(model, recipe).train()
        if recipe.noise:
            activate_neftune(self.model, recipe.noise)
        if recipe.checkpointing:
            self.model.activation_checkpointing_enable()
        self._weights = [each for each in self.model.parameters() if each.requires_grad]
        self._optimiser = torch.optim.AdamW(self._weights, lr=recipe.learning_rate)
        self._schedule = get_cosine_schedule_with_warmup(
            self._optimiser, round(recipe.warm_up * steps), steps
        )
        self._recipe = recipe
        self._device = device

    def step(self, rows: Sequence[int]) -> dict[str, float]:
        """Learn from some lists.

        Args:
            rows: Their numbers.

        Returns:
            The terms of the loss by name, each a mean over the lists.

        Raises:
            ModelError: The loss is no number, or the memory does not suffice.
        """
        import torch

        means: dict[str, float] = {}
        try:
            for row in rows:
                terms = self._terms(self._examples[row])
                (sum(terms.values()) / len(rows)).backward()
                for name, term in terms.items():
                    means[name] = means.get(name, 0.0) + term.item() / len(rows)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{error}; train with checkpointing, or on shorter or fewer passages"
            ) from error
        norm = torch.nn.utils.clip_grad_norm_(self._weights, _LARGEST_GRADIENT)
        if not norm.isfinite():
            raise ModelError("the loss is no longer a number; train with a smaller learning_rate")
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad()
        return means

    def _terms(self, example: Example) -> dict[str, torch.Tensor]:
        import torch

        reply, ranks, identifiers, grades = (
            torch.tensor(each, device=self._device)
            for each in (example.reply, example.ranks, example.identifiers, example.grades)
        )
        # The last token is predicted, never read.
        read = torch.tensor([[*example.prompt, *example.reply[:-1]]], device=self._device)
        output = self.model(input_ids=read, use_cache=False, logits_to_keep=len(reply))
        logits = output.logits[0].float()
        if self._recipe.objective == "permutation":
            return {"permutation": importance_aware_loss(logits, reply, ranks)}
        language, ranking = first_loss(logits, reply, identifiers, grades)
        return {"language model": language, "ranking": ranking}

"""How a reranker is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; the defaults are the papers', but for LoRA and its higher learning rate.

    Args:
        objective: What is learnt, named as the ranker that it is for: with 'first-token' FIRST's
            joint loss on the prompts of `FirstTokenRanker`, with 'permutation' the importance-aware
            loss on those of `PermutationRanker`.
        epochs: Times that each list is learnt from.
        batch: Lists of a step; they are read one after the other, so they cost time and no memory.
        learning_rate: AdamW's, at its highest; a cosine takes it to 0.
        warm_up: Share of the steps in which it rises from 0.
        lora_rank: Rank of the changes to each projection of attention and MLPs.
        lora_alpha: Their scale, as a multiple of 1 / `lora_rank`.
        noise: NEFTune's alpha (arXiv 2310.05914), noise on the embeddings; 0 for none.
        passage_tokens: Tokens of a passage that the model reads at most; rerankers that use the
            trained model are to be given the same.
        checkpointing: Whether activations are computed again for the gradients instead of kept:
            a third slower, in a fraction of the memory.
        seed: Decides on the first adapter, the order of the lists and the noise.

    Raises:
        InputError: A value is out of its range.
    """

    objective: Literal["first-token", "permutation"] = "first-token"
    epochs: int = 3
    batch: int = 32
    learning_rate: float = 1e-4
    warm_up: float = 0.05
    lora_rank: int = 16
    lora_alpha: int = 32
    noise: float = 5.0
    passage_tokens: int = 300
    checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that nothing can be trained with."""
        if self.objective not in ("first-token", "permutation"):
            raise InputError(
                f"objective is '{self.objective}'; it must be 'first-token' or 'permutation'"
            )
        for name in ("epochs", "batch", "lora_rank", "lora_alpha", "passage_tokens"):
            if (value := getattr(self, name)) < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.warm_up < 1:
            raise InputError(f"warm_up is {self.warm_up}; it must be at least 0 and below 1")
        if not self.noise >= 0:
            raise InputError(f"noise is {self.noise}; it must be at least 0")

"""Training of rerankers: a language model learns the order of passages (extra `train`)."""

from rag.rerankers.training.adapter import merged
from rag.rerankers.training.card import AdapterCard
from rag.rerankers.training.lists import TrainingList, training_lists
from rag.rerankers.training.losses import first_loss, importance_aware_loss
from rag.rerankers.training.recipe import Recipe
from rag.rerankers.training.train import train

__all__ = [
    "AdapterCard",
    "Recipe",
    "TrainingList",
    "first_loss",
    "importance_aware_loss",
    "merged",
    "train",
    "training_lists",
]
